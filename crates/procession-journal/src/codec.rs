//! Between the messages of `journal.proto` and the library's types.
