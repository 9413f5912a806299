//! The pinned version of the Claude Code CLI, and what its packages are: what is not exactly this is not run.
//!
//! The tarballs' digests are those that the npm registry publishes (`dist.integrity`), the programs' are of what was in them.

use std::path::Path;

/// The version that this service works with. What it says on its wires is not documented, and changes from one to the next.
pub const VERSION: &str = "2.1.330";

/// The package of one platform.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// The end of its name.
    pub platform: &'static str,
    /// SHA-512 of the tarball, in hexadecimal digits.
    pub tarball_sha512: &'static str,
    /// SHA-256 of the program in it.
    pub program_sha256: &'static str,
}

const PACKAGES: [Package; 6] = [
    Package {
        platform: "linux-x64",
        tarball_sha512: "f469fe57b0ed27c3359f3b4ff42783565f60dd1b6b7a923bace153c8f4519d97bc0facde6c81ca982ecebc16aeb9cb803f45f493ce520cdfcb3d56728ec19ecd",
        program_sha256: "f390eaa0814e6a1bff74cbb47acb74cb9c89d30ced809fe0af5af00c7bfe8ebb",
    },
    Package {
        platform: "linux-arm64",
        tarball_sha512: "578c9a9c0639100e54a70c113ed8d27ea0db36a0255097959f7358670d808264478dda52b0bb470336f14577e40276e3c135f3134b9e763431518d360113dcb0",
        program_sha256: "6016f90cac783e367fb1aa97c768a2efb94a0128a5b46b70fb3d8fcbbd9dd444",
    },
    Package {
        platform: "linux-x64-musl",
        tarball_sha512: "3a776e4923d8d5be7d140f234dbab6d18d57903515d12d4e572bd804db2511ba57efd3fcd4917b221e25818bc32a21679d2bfbe73e0abfaa8b1390d0aa88185c",
        program_sha256: "510d57bbf077b49288b9f3b53b11324048f4c2da5dcb980563be82534980d621",
    },
    Package {
        platform: "linux-arm64-musl",
        tarball_sha512: "35e99f793a99df4b500e101eba66600d8a17e1ec2100790dddd6dcb32be581bfb2be929495c62ee41a2bf0af83bb96b319edeecbdb1fb652716c6853b0247bcc",
        program_sha256: "986b83557cbd428273c37f35fc08a44fc786077deeb391660884833bc581348a",
    },
    Package {
        platform: "darwin-x64",
        tarball_sha512: "5de9d3363db35da16b9cb99fe3b9f6e6f0a17c58657dec9a011fef5b9485b049cb1b0776535bc3518f7bfb97ad1c166edf15819e52bc1e1055c73462f584d40f",
        program_sha256: "bbed99bb8a39bb3f94389c5c99d3d02cb75f3f983b5d1bc40b1b0d1efca84713",
    },
    Package {
        platform: "darwin-arm64",
        tarball_sha512: "ae0cc08eb44926c21d657185f4208515b511c4ab893686d1afe92b57774d9aa349588c2cef8acb0f408005ee3e9d7971ffd5b0444093aef7a9ad607dea6b9bab",
        program_sha256: "f7c5093b9dd6560d08af28bc27b123fb55091deae3180ac39df199522da86815",
    },
];

impl Package {
    /// The one for this machine.
    pub fn of_this_machine() -> Option<&'static Self> {
        let processor = if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" };
        let is_known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
        let platform = match std::env::consts::OS {
            "linux" if has_only_musl() => format!("linux-{processor}-musl"),
            "linux" => format!("linux-{processor}"),
            "macos" => format!("darwin-{processor}"),
            _ => return None,
        };
        PACKAGES.iter().find(|package| is_known && package.platform == platform)
    }

    /// Where a registry has it.
    pub fn url(&self, registry: &str) -> String {
        let (registry, platform) = (registry.trim_end_matches('/'), self.platform);
        format!("{registry}/@anthropic-ai/claude-code-{platform}/-/claude-code-{platform}-{VERSION}.tgz")
    }
}

/// What this program was built for says nothing about the system: a static build runs on both.
fn has_only_musl() -> bool {
    let (musl, glibc) = if cfg!(target_arch = "x86_64") {
        ("/lib/ld-musl-x86_64.so.1", "/lib64/ld-linux-x86-64.so.2")
    } else {
        ("/lib/ld-musl-aarch64.so.1", "/lib/ld-linux-aarch64.so.1")
    };
    Path::new(musl).exists() && !Path::new(glibc).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_package_and_a_registry_has_it_where_npm_looks() {
        let package = Package::of_this_machine().expect("tests run on what is supported");
        let url = package.url("https://npm.example/mirror/");
        assert!(url.starts_with("https://npm.example/mirror/@anthropic-ai/claude-code-"), "{url}");
        assert!(url.ends_with(&format!("{}-2.1.330.tgz", package.platform)), "{url}");
    }

    #[test]
    fn digests_are_digests() {
        for Package { platform, tarball_sha512, program_sha256 } in PACKAGES {
            assert_eq!((tarball_sha512.len(), program_sha256.len()), (128, 64), "{platform}");
        }
    }
}
