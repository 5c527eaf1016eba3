//! `async` reading, writing, allocating, accepting.

use std::time::Duration;

use o7s::{ErrorKind, Flow, Node, QosSpec};
use o7s_tests::TestNode;

async fn pair(node: &Node) -> (Flow, Flow) {
    let accept = node.start_accept(None).unwrap().outcome();
    let alloc = node
        .start_alloc("here", QosSpec::RAW, None)
        .unwrap()
        .outcome();
    let (client, server) = tokio::join!(alloc, accept);
    (client.unwrap(), server.unwrap())
}

#[tokio::test]
async fn many_tasks_echo_on_one_thread() {
    const FLOWS: usize = 50;
    const ROUNDS: u32 = 100;
    let test = TestNode::start();
    test.serve_here("here");
    let mut tasks = Vec::new();
    for _ in 0..FLOWS {
        let (client, server) = pair(&test.node()).await;
        tasks.push(tokio::spawn(async move {
            while let Ok(packet) = server.read_packet_async().await {
                server.write_async(&packet).await.unwrap();
            }
        }));
        tasks.push(tokio::spawn(async move {
            let mut buf = [0; 8];
            for round in 0..ROUNDS {
                client.write_async(&round.to_le_bytes()).await.unwrap();
                assert_eq!(client.read_async(&mut buf).await, Ok(4));
                assert_eq!(buf[..4], round.to_le_bytes());
            }
            client.dealloc().unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(test.irm().status().unwrap().flows, 0);
}

#[tokio::test]
async fn a_cancelled_read_loses_no_packet() {
    let test = TestNode::start();
    test.serve_here("here");
    let (client, server) = pair(&test.node()).await;
    for round in 0..200_u16 {
        tokio::select! {
            biased;
            packet = server.read_packet_async() => panic!("{packet:?}"),
            () = std::future::ready(()) => {}
        }
        client.write_async(&round.to_le_bytes()).await.unwrap();
        assert_eq!(
            server.read_packet_async().await.unwrap(),
            round.to_le_bytes()
        );
    }
}

#[tokio::test]
async fn a_full_flow_holds_its_writer_until_there_is_room() {
    let test = TestNode::start();
    test.serve_here("here");
    let (client, server) = pair(&test.node()).await;
    let packet = vec![3; 50_000];
    let mut written = 0;
    while client.try_write(&packet).is_ok() {
        written += 1;
    }
    let writer = {
        let (client, packet) = (client.clone(), packet.clone());
        tokio::spawn(async move { client.write_async(&packet).await })
    };
    for _ in 0..=written {
        assert_eq!(server.read_packet_async().await.unwrap(), packet);
    }
    assert_eq!(writer.await.unwrap(), Ok(packet.len()));
}

#[tokio::test]
async fn the_end_of_a_flow_ends_its_readers() {
    let test = TestNode::start();
    test.serve_here("here");
    let (client, server) = pair(&test.node()).await;
    let reader = {
        let server = server.clone();
        tokio::spawn(async move { server.read_packet_async().await })
    };
    tokio::task::yield_now().await;
    client.dealloc().unwrap();
    assert_eq!(
        reader.await.unwrap().unwrap_err().kind(),
        ErrorKind::FlowDown
    );

    let own = {
        let (_client, server) = pair(&test.node()).await;
        let reader = {
            let server = server.clone();
            tokio::spawn(async move { server.read_packet_async().await })
        };
        tokio::task::yield_now().await;
        server.dealloc().unwrap();
        reader.await.unwrap()
    };
    assert!(own.is_err());
}

#[tokio::test]
async fn a_dropped_accept_leaves_its_flow_to_the_next() {
    let test = TestNode::start();
    test.serve_here("here");
    let node = test.node();
    let accept = node.start_accept(None).unwrap();
    let timed_out = tokio::time::timeout(Duration::ZERO, accept.outcome()).await;
    assert!(timed_out.is_err());
    let (client, server) = pair(&node).await;
    client.write(b"x").unwrap();
    assert_eq!(server.read_packet_async().await.unwrap(), b"x");
}
