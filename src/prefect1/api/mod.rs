//! The GraphQL API: transport, start-up, the queue, states, logs.
