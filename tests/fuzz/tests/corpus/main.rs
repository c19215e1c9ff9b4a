//! Every input that fuzzing found worth keeping, and every one that once broke a property, is held to all properties.

#[cfg(test)]
mod replay;
