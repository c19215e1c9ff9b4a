//! The guest client as a process, against a scripted host.

#[cfg(test)]
mod actions;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod channel;
#[cfg(test)]
mod compat;
#[cfg(test)]
mod host;
#[cfg(test)]
mod host_status;
#[cfg(test)]
mod input;
#[cfg(test)]
mod legacy;
#[cfg(test)]
mod metadata;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod trouble;
