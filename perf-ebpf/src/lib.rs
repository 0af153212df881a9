//! Records.
#![no_std]
