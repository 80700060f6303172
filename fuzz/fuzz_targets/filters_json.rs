//! See [`procession_fuzz::filters_json`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::filters_json);
