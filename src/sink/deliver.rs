//! What follows from an outcome: waiting, sending again, splitting, dead letters, stopping.
