//! How a callback's body tells its kind.
