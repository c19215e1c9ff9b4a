//! A seeded simulation of a host with faults: docs/simulation.md.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod fate;
#[cfg(test)]
mod guests;
#[cfg(test)]
mod mutual;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod port;
#[cfg(test)]
mod rng;
#[cfg(test)]
mod round;
#[cfg(test)]
mod seen;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
