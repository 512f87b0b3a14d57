//! Whether files of the configuration have changed, by a look at them every second. Events of the
//! system would come for every line of a log that is written beside them, and not at all on some
//! network file systems.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use portcullis_config::Diagnostics;
use portcullis_engine::load::files;

/// How often somebody looks.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What a look sees of a file: when it was written, its size and its identity, since editors and
/// Kubernetes replace files. `None` for one that is not there.
type Seen = Option<(SystemTime, u64, u64)>;

/// Looks at files, and at folders for files that come and go.
pub struct Watch {
    /// Files and folders of the command line.
    paths: Vec<PathBuf>,
    /// Files that the configuration names.
    named: Vec<PathBuf>,
    /// What the running configuration was read from, or what was refused.
    known: BTreeMap<PathBuf, Seen>,
    last: BTreeMap<PathBuf, Seen>,
}

impl Watch {
    /// Knows the files as they are now: to be made before they are read.
    pub fn new(paths: &[PathBuf]) -> Self {
        let (paths, named) = (paths.to_vec(), Vec::new());
        let mut watch =
            Self { paths, named, known: BTreeMap::default(), last: BTreeMap::default() };
        watch.take();
        watch
    }

    /// Files that the configuration names belong to it as well.
    pub fn name(&mut self, named: &[PathBuf]) {
        self.named = named.to_vec();
        for path in named {
            self.known.entry(path.clone()).or_insert_with(|| seen(path));
        }
        let now = self.look();
        self.known.retain(|path, _| now.contains_key(path));
    }

    /// Knows the files as they are now: to be called before they are read again.
    pub fn take(&mut self) {
        self.known = self.look();
        self.last.clone_from(&self.known);
    }

    /// True when something is different and two looks saw the same: whoever writes is done.
    pub fn changed(&mut self) -> bool {
        let now = self.look();
        let settled = now == self.last;
        self.last = now;
        settled && self.last != self.known
    }

    fn look(&self) -> BTreeMap<PathBuf, Seen> {
        let all = files(&self.paths, &mut Diagnostics::new()).into_iter();
        let all = all.chain(self.named.iter().cloned());
        all.map(|path| (path.clone(), seen(&path))).collect()
    }
}

fn seen(path: &PathBuf) -> Seen {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len(), facts.ino()))
}
