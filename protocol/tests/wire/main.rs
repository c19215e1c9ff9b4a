//! The wire as its two ends see it: golden bytes, any input, any chunking, every limit.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod decoding;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod legacy;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod random;
#[cfg(test)]
mod signing;
