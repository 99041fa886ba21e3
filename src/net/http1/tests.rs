//! Over a scripted connection: what is written, and what is made of the answers.

mod agreement;
mod answers;
mod requests;
mod script;
