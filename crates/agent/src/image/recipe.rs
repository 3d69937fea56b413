//! What goes into the images that novanet builds: programs of the host, novanet's own files, and
//! empty folders. Tables only.

/// A program of the host that goes into an image.
pub(super) struct Program {
    /// Places where the host may have it, best first.
    pub(super) from: &'static [&'static str],
    /// Its path in the image.
    pub(super) to: &'static str,
    /// The Debian package to install.
    pub(super) package: &'static str,
}

/// Path, mode, content.
type File = (&'static str, u32, &'static str);

/// An image. Later tables add to earlier ones and replace files of the same path.
pub(super) struct Recipe {
    pub(super) programs: &'static [&'static [Program]],
    pub(super) files: &'static [&'static [File]],
    /// Path, mode.
    pub(super) directories: &'static [&'static [(&'static str, u32)]],
}

/// Boots to an address, ssh and a page.
pub(super) const TINY: Recipe = Recipe {
    programs: &[PROGRAMS],
    files: &[FILES],
    directories: &[DIRECTORIES],
};

/// A project's VPN server.
pub(super) const CLOUDPIPE: Recipe = Recipe {
    programs: &[PROGRAMS, VPN_PROGRAMS],
    files: &[FILES, VPN_FILES],
    directories: &[DIRECTORIES, VPN_DIRECTORIES],
};

/// The shell and all small programs.
pub(super) const BUSYBOX: Program = Program {
    from: &["/bin/busybox", "/usr/bin/busybox"],
    to: "bin/busybox",
    package: "busybox-static",
};

const PROGRAMS: &[Program] = &[
    BUSYBOX,
    Program {
        from: &["/usr/sbin/dropbear"],
        to: "usr/sbin/dropbear",
        package: "dropbear-bin",
    },
    Program {
        from: &["/usr/bin/dropbearkey"],
        to: "usr/bin/dropbearkey",
        package: "dropbear-bin",
    },
];

const FILES: &[File] = &[
    ("sbin/init", 0o755, include_str!("tiny/init")),
    ("lib/tiny/card", 0o755, include_str!("tiny/card")),
    ("lib/tiny/hotplug", 0o755, include_str!("tiny/hotplug")),
    ("lib/tiny/network", 0o755, include_str!("tiny/network")),
    ("lib/tiny/lease", 0o755, include_str!("tiny/lease")),
    ("lib/tiny/services", 0o755, include_str!("tiny/services")),
    (
        "etc/passwd",
        0o644,
        "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    (
        "etc/group",
        0o644,
        "root:x:0:\ntty:x:5:\nnogroup:x:65534:\nnobody:x:65534:\n",
    ),
    ("etc/shells", 0o644, "/bin/sh\n/bin/ash\n"),
    ("etc/hosts", 0o644, "127.0.0.1\tlocalhost\n"),
    ("etc/nsswitch.conf", 0o644, "hosts: files dns\n"),
    ("etc/os-release", 0o644, "ID=tiny\nNAME=tiny\n"),
    (
        "etc/profile",
        0o644,
        "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nPS1='\\u@\\h:\\w\\$ '\n",
    ),
];

const DIRECTORIES: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc/dropbear", 0o700),
    ("etc/network", 0o755),
    ("etc/network/if-up.d", 0o755),
    ("etc/network/if-down.d", 0o755),
    ("etc/network/if-pre-up.d", 0o755),
    ("etc/network/if-post-down.d", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/www", 0o755),
];

const VPN_PROGRAMS: &[Program] = &[
    Program {
        from: &["/usr/sbin/openvpn"],
        to: "usr/sbin/openvpn",
        package: "openvpn",
    },
    Program {
        from: &["/usr/bin/openssl"],
        to: "usr/bin/openssl",
        package: "openssl",
    },
];

/// A file of `images/cloudpipe/`.
macro_rules! cloudpipe {
    ($path:literal, $mode:literal, $name:literal) => {
        (
            $path,
            $mode,
            include_str!(concat!("../../../../images/cloudpipe/", $name)),
        )
    };
}

const VPN_FILES: &[File] = &[
    cloudpipe!("etc/init.d/openvpn", 0o755, "openvpn.init"),
    cloudpipe!("etc/network/if-pre-up.d/bridge", 0o755, "bridge-ports"),
    cloudpipe!("etc/network/interfaces", 0o644, "interfaces"),
    cloudpipe!("etc/openvpn/down.sh", 0o755, "down.sh"),
    cloudpipe!(
        "etc/openvpn/server.conf.template",
        0o644,
        "server.conf.template"
    ),
    cloudpipe!("etc/openvpn/session.sh", 0o755, "session.sh"),
    cloudpipe!("etc/openvpn/up.sh", 0o755, "up.sh"),
    cloudpipe!("etc/openvpn/verify.sh", 0o755, "verify.sh"),
    cloudpipe!("etc/rc.local", 0o755, "rc.local"),
    cloudpipe!("lib/cloudpipe/lease", 0o755, "lease"),
    cloudpipe!("lib/cloudpipe/refresh", 0o755, "refresh"),
    cloudpipe!("lib/cloudpipe/revoked", 0o755, "revoked"),
    cloudpipe!("lib/tiny/card", 0o755, "card"),
    cloudpipe!("lib/tiny/services", 0o755, "services"),
    ("etc/os-release", 0o644, "ID=cloudpipe\nNAME=cloudpipe\n"),
];

const VPN_DIRECTORIES: &[(&str, u32)] = &[("etc/openvpn", 0o755)];
