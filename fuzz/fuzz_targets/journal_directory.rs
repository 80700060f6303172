//! See [`procession_fuzz::journal_directory`].

#![cfg_attr(fuzzing, no_main)]

procession_fuzz::target!(procession_fuzz::journal_directory);
