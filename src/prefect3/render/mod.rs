//! From a flow run to its launch: the rules of the ECS worker of Prefect 2 and 3, pure.
