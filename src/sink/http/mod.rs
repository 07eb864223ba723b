//! Destinations that speak HTTP. One differs from another only in endpoint, authentication, framing, limits, and how its
//! answer reads; compressing, sending and the classes of transport errors exist once, here.
