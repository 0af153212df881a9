//! Harness and workloads with known answers.
