//! Bytes both ways between a client and its server.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes moved at once, each way; the size of a TLS record.
const CHUNK: usize = 16 * 1024;

/// Moves bytes both ways until the server hangs up, or the client does and the server has finished.
///
/// The two ends are not alike. A client that stops sending still reads the answers to what it sent, so
/// only the server's writing half is closed then. A server that stops sending has ended the session,
/// and the client's connection ends with it: an idle client would never find out otherwise.
pub async fn join<C, S>(client: C, server: S) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let up = async {
        let result = pump(&mut client_read, &mut server_write).await;
        // A client that vanished without a goodbye ends here too: the server rolls back on seeing the end.
        let _ = server_write.shutdown().await;
        result
    };
    let down = async {
        let result = pump(&mut server_read, &mut client_write).await;
        let _ = client_write.shutdown().await;
        result
    };
    tokio::pin!(up, down);
    tokio::select! {
        biased;
        result = &mut down => result,
        result = &mut up => match result {
            Ok(()) => down.await,
            Err(error) => Err(error),
        },
    }
}

async fn pump<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(from: &mut R, to: &mut W) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&chunk[..count]).await?;
                // A TLS stream may keep a record back until it is told to flush.
                to.flush().await?;
            }
            // libpq closes its socket without TLS's own goodbye; that is an end like any other.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test]
    async fn a_half_closed_client_still_gets_its_answer() {
        // given a client and a server joined by the proxy
        let (mut client, client_side) = duplex(64);
        let (mut server, server_side) = duplex(64);
        let proxy = tokio::spawn(join(client_side, server_side));
        // when the client asks and closes its writing half
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        // then the server sees question and end, and its late answer arrives
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        proxy.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_ends_an_idle_client() {
        let (mut client, client_side) = duplex(64);
        let (server, server_side) = duplex(64);
        let proxy = tokio::spawn(join(client_side, server_side));
        drop(server);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        proxy.await.unwrap().unwrap();
    }
}
