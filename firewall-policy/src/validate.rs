//! From ast to Policy.
