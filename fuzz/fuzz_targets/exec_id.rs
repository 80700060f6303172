//! See [`procession_fuzz::exec_id`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::exec_id);
