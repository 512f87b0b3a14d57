//! Floor 2: KINDS, the ordered list of policies, and one file or folder per policy.
