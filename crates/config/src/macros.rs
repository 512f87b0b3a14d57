//! Settings are declared once: the type, its documentation, its defaults, its decoder and its
//! schema are one text and cannot drift apart.

/// The key of a field: `r#match` is `match`.
pub fn key(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Declares a block of the language as a struct with named fields, one key each.
///
/// Only documentation comments are taken on the type and its fields; the type is `Clone` and
/// `Debug`. A field without a default is required unless its type is optional; a default is YAML
/// text and goes through the same decoder. Unknown keys are errors. `Type::defaults()` is what an
/// empty block means, `None` when a key is required.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $field_vis:vis $field:ident : $type:ty $(= $default:literal)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $($(#[doc = $field_doc])* $field_vis $field: $type,)*
        }

        impl $name {
            /// What an empty block means; `None` when a key is required.
            #[allow(dead_code)]
            $vis fn defaults() -> Option<Self> {
                let empty = $crate::Node::new(
                    $crate::Value::Map($crate::Map::new()),
                    $crate::Span::default(),
                );
                <Self as $crate::Decode>::decode(&empty, &mut $crate::Diagnostics::new())
            }
        }

        impl $crate::Decode for $name {
            fn decode(
                node: &$crate::Node,
                out: &mut $crate::Diagnostics,
            ) -> Option<Self> {
                let known = [$($crate::expansion::key(stringify!($field))),*];
                #[allow(unused_mut, unused_variables)]
                let mut fields = $crate::Fields::of(node, &known, out)?;
                $(let $field: Option<$type> =
                    $crate::settings!(@take fields $field $($default)?);)*
                Some(Self { $($field: $field?),* })
            }

            fn switched_on() -> Option<Self> {
                Self::defaults()
            }

            fn schema(definitions: &mut $crate::Definitions) -> $crate::expansion::Json {
                definitions.define(module_path!(), stringify!($name), |definitions| {
                    #[allow(unused_variables)]
                    let definitions = definitions;
                    $crate::ObjectSchema::new(concat!($($doc, "\n",)* ""))
                        $(.key::<$type>(
                            $crate::expansion::key(stringify!($field)),
                            concat!($($field_doc, "\n",)* ""),
                            $crate::settings!(@default $($default)?),
                            definitions,
                        ))*
                        .finish()
                })
            }
        }
    };
    (@take $fields:ident $field:ident) => {
        $fields.take($crate::expansion::key(stringify!($field)))
    };
    (@take $fields:ident $field:ident $default:literal) => {
        $fields.take_or($crate::expansion::key(stringify!($field)), $default)
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

/// Declares one of several words as an enum.
///
/// Only documentation comments are taken on the type and its words. `as_str` gives the word.
#[macro_export]
macro_rules! choices {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident {
            $($(#[doc = $word_doc:literal])* $variant:ident = $word:literal),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[doc = $word_doc])* $variant,)*
        }

        impl $name {
            /// The word that stands for it in a file.
            #[allow(dead_code)]
            $vis fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl $crate::Decode for $name {
            fn decode(
                node: &$crate::Node,
                out: &mut $crate::Diagnostics,
            ) -> Option<Self> {
                let place = $crate::expansion::choice(node, &[$($word),*], out)?;
                [$(Self::$variant),*].get(place).copied()
            }

            fn schema(definitions: &mut $crate::Definitions) -> $crate::expansion::Json {
                definitions.define(module_path!(), stringify!($name), |definitions| {
                    $crate::expansion::choices(
                        concat!($($doc, "\n",)* ""),
                        &[$(($word, concat!($($word_doc, "\n",)* ""))),*],
                        definitions,
                    )
                })
            }
        }
    };
}
