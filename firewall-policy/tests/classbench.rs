//! The ClassBench sets in `tests/data`: every header must be decided by the rule that the oracle
//! names, not only with the same verdict.

