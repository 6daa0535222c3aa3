//! What can be said of Google Cloud Storage without it: every write carries the condition that makes it a create, and a
//! server that does not keep to it is refused like any other.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

use std::sync::{Arc, Mutex};

use holdfast_context::Context;
use holdfast_format::SiteName;
use holdfast_store::{Kind, SiteOptions, open_for_writing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server that takes everything, keeps nothing, and notes the heads of what it was sent.
async fn forgetful(context: &Context) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (within, noted) = (context.clone(), Arc::clone(&heads));
    context.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            within.spawn(async move { serve(client, &noted).await.ok() });
        }
    });
    (endpoint, heads)
}

async fn serve(mut client: TcpStream, noted: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let answer = if head.starts_with("put") || head.starts_with("delete") {
        "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    } else {
        "HTTP/1.1 404 X\r\ncontent-length: 37\r\nconnection: close\r\n\r\n<Error><Code>NoSuchKey</Code></Error>"
    };
    noted.lock().unwrap().push(head);
    client.write_all(answer.as_bytes()).await?;
    // What is left of the request is taken, or the answer is lost with the connection.
    client.shutdown().await?;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.map(drop)
}

#[tokio::test]
async fn writes_are_creates_and_a_server_that_forgets_is_refused() {
    let context = Context::system();
    let (endpoint, heads) = forgetful(&context).await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key.json");
    let key = r#"{"private_key": "k", "private_key_id": "k", "client_email": "c", "disable_oauth": true}"#;
    std::fs::write(&key_file, key).unwrap();
    let url = format!(
        "gs://bucket/some/folder?endpoint={endpoint}&key_file={}",
        key_file.display()
    );
    let name = SiteName::new("tested").unwrap();
    let error = open_for_writing(&context, name, &url, &SiteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(
        error.to_string().contains("at gs://bucket/some/folder"),
        "{error}"
    );
    let heads = heads.lock().unwrap();
    let puts: Vec<_> = heads
        .iter()
        .filter(|head| head.starts_with("put"))
        .collect();
    assert!(!puts.is_empty());
    for head in puts {
        let path = head.replace("%2f", "/").replace("%2d", "-");
        let probe = "put /bucket/some/folder/holdfast-probe/";
        assert!(path.starts_with(probe), "{head}");
        assert!(head.contains("x-goog-if-generation-match: 0\r\n"), "{head}");
    }
}
