//! An npm registry on loopback, which gives everyone one package: as it is, or as a test wants it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use claude_code_api_service::backend::claude_code::package::Package;
use claude_code_api_testkit::read_request;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256, Sha512};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

/// How a package is given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gives {
    Whole,
    /// With a byte that is another.
    Corrupted,
    /// Half of it, and the connection is closed.
    Half,
    /// Half of it, and then nothing.
    HalfAndSilence,
    /// A byte at a time, with a pause now and then.
    Slowly,
    Status(u16),
}

pub(crate) struct Registry {
    pub(crate) url: String,
    requests: Arc<AtomicUsize>,
}

impl Registry {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    pub(crate) async fn start(tarball: &[u8], gives: Gives) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (tarball, requests) = (tarball.to_owned(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((peer, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let tarball = tarball.clone();
                tokio::spawn(async move { give(peer, tarball, gives).await });
            }
        });
        Self { url, requests }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Who asks may leave at any time.
async fn give(mut peer: TcpStream, mut tarball: Vec<u8>, gives: Gives) {
    let request = read_request(&mut peer).await;
    assert!(request.starts_with("GET /@anthropic-ai/claude-code-"), "{request}");
    let status = if let Gives::Status(status) = gives { status } else { 200 };
    let head = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", tarball.len());
    let _ = peer.write_all(head.as_bytes()).await;
    let half = tarball.len() / 2;
    match gives {
        Gives::Corrupted => tarball[half] ^= 1,
        Gives::Half | Gives::HalfAndSilence => tarball.truncate(half),
        Gives::Whole | Gives::Slowly | Gives::Status(_) => {}
    }
    if let Gives::Slowly = gives {
        for piece in tarball.chunks(tarball.len() / 4) {
            let _ = peer.write_all(piece).await;
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        }
        return;
    }
    let _ = peer.write_all(&tarball).await;
    if let Gives::HalfAndSilence = gives {
        std::future::pending::<()>().await;
    }
}

/// A package whose program is this, and its tarball.
pub(crate) fn package(program: &[u8]) -> (Package, Vec<u8>) {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in [("package/package.json", b"{}".as_slice()), ("package/claude", program)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, content).expect("memory takes everything");
    }
    let tarball = archive.into_inner().expect("it is complete").finish().expect("memory takes everything");
    let package = Package {
        platform: "linux-x64",
        tarball_sha512: leaked(&Sha512::digest(&tarball)),
        program_sha256: leaked(&Sha256::digest(program)),
    };
    (package, tarball)
}

fn leaked(digest: &[u8]) -> &'static str {
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat().leak()
}
