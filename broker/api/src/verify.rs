//! The numbered steps of TRUST.md section 4, each a pure function of what is held and what is offered.
