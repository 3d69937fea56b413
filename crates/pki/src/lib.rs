//! Keys, certificates and sealed secrets; pure.
