//! The Kafka sink and what else the program keeps in Kafka, against a real Apache Kafka.

mod dead_letters;
mod security;
mod sink;
mod transfer;
mod usage;
mod verify;
mod verify_destination;
mod worker;
