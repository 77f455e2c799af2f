//! A disk that is really full, and a process that really has no descriptors left.
