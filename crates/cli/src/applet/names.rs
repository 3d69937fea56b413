//! The applets' words, and what each is for. Depends on nothing: generated documents use the table,
//! too.

/// A job of the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applet {
    /// Everything on one host.
    Up,
    /// API and controllers.
    Server,
    /// One host's networks and instances.
    Agent,
    /// The operator's command line.
    Manage,
    /// dnsmasq's messenger.
    Dhcpbridge,
    /// The small EC2 client.
    Euca,
    /// `image build …`
    Image,
    /// The main job in a sandbox.
    Demo,
    /// Shell completion.
    Completion,
    /// Man pages.
    Man,
    /// The version.
    Version,
}

/// Every applet: its word, and what it is for.
pub(crate) const APPLETS: &[(&str, Applet, &str)] = &[
    ("up", Applet::Up, "a whole cloud on this host"),
    (
        "server",
        Applet::Server,
        "the EC2 API and the controllers (nova-api)",
    ),
    (
        "agent",
        Applet::Agent,
        "this host's networks and instances (nova-network, nova-compute)",
    ),
    (
        "manage",
        Applet::Manage,
        "the operator's command line (nova-manage)",
    ),
    (
        "dhcpbridge",
        Applet::Dhcpbridge,
        "called by dnsmasq (nova-dhcpbridge)",
    ),
    ("euca", Applet::Euca, "a small EC2 client (euca-*)"),
    (
        "image",
        Applet::Image,
        "build and register images (nova-manage image)",
    ),
    ("demo", Applet::Demo, "the main job in a sandbox"),
    (
        "completion",
        Applet::Completion,
        "shell completion for bash, zsh and fish",
    ),
    ("man", Applet::Man, "man pages of all commands"),
    ("version", Applet::Version, "the version"),
];
