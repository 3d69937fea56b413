//! HTTP: the EC2 API and the agent API.
