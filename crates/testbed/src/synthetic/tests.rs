use std::sync::Arc;
use std::time::Duration;

use onefed_flower::{Operation, Transport};

use super::{Model, SuperLink, SuperNode, Timing};

#[test]
fn models_and_replies_move_in_both_dialects() {
    for transport in [Transport::Grpc, Transport::Http] {
        let superlink = SuperLink::start("127.23.3.1:0".parse().unwrap(), transport).unwrap();
        let timing = Timing { poll: Duration::from_millis(20), ..Timing::default() };
        let model = Arc::new(Model::new(1, 12_000_000));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = |seed| {
            let reply = Some(Arc::new(Model::new(seed, 6_000_000)));
            SuperNode::new(superlink.address(), transport, timing, reply).unwrap()
        };
        let nodes = [node(2), node(3)];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let superlink = &superlink;
                assert!(superlink.wait_for_nodes(2, Duration::from_secs(20)));
                superlink.give_all(&model);
                assert!(superlink.wait_for_replies(2, Duration::from_secs(20)), "{transport}");
            });
            runtime.block_on(async {
                let running = nodes.map(|node| tokio::spawn(node.run()));
                let done = || superlink.wait_for_replies(2, Duration::ZERO);
                let began = tokio::time::Instant::now();
                while !done() && began.elapsed() < Duration::from_secs(40) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                running.iter().for_each(tokio::task::JoinHandle::abort);
            });
        });
        let (pulled, pushed, bytes) = superlink.moved();
        // Three chunks, the record and the message; two chunks in a reply.
        assert_eq!((pulled, pushed), (2 * 5, 2 * 4), "{transport}");
        assert!(bytes > 12_000_000 && bytes < 12_010_000);
        assert_eq!(superlink.calls(Operation::ConfirmMessageReceived), 2);
        assert!(model.bytes() > 12_000_000);
    }
}
