//! Floor 0: the vocabulary of the gateway and the pure pieces that several rooms need.
