//! A link's root queueing discipline over netlink, inside of the namespace that the calling thread is in.
//!
//! `rtnetlink` looks links up and carries messages; netem's options are bytes to it.

use std::io;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption, TcStats2};
use rtnetlink::{Handle, new_connection};

const KIND: &str = "netem";
/// `TCA_OPTIONS`.
const OPTIONS: u16 = 2;
/// Netem's own handle, `1:`. Another one, or none, would be another qdisc in its place, and the queue gone.
const HANDLE: TcHandle = TcHandle { major: 1, minor: 0 };

/// What the kernel shows of a netem.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) options: Vec<u8>,
    pub(super) dropped: u32,
    pub(super) held: u32,
}

/// A link without the label.
#[derive(Debug, thiserror::Error)]
#[error("no lab made this link")]
struct Foreign;

/// Whether the link is not the lab's.
pub(super) fn is_foreign(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Foreign>())
}

/// Sets netem, or changes what is set. `label`: the alias that the link must have.
pub(super) fn replace(link: &str, label: Option<&str>, options: &[u8]) -> io::Result<()> {
    run(async |handle: Handle| {
        let mut message = root_of(&find(&handle, link, label).await?);
        message.header.handle = HANDLE;
        message.attributes.push(TcAttribute::Kind(KIND.to_owned()));
        message.attributes.push(TcAttribute::Other(DefaultNla::new(OPTIONS, options.to_vec())));
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        request(handle, message, NLM_F_CREATE | NLM_F_REPLACE).await.map(drop)
    })
}

/// Takes netem away; also where there is none.
pub(super) fn remove(link: &str, label: Option<&str>) -> io::Result<()> {
    run(async |handle: Handle| {
        let link = find(&handle, link, label).await?;
        if shown(&handle, &link).await?.is_none() {
            return Ok(());
        }
        request(handle, RouteNetlinkMessage::DelQueueDiscipline(root_of(&link)), 0).await.map(drop)
    })
}

/// What is set; `None` where it is not netem.
pub(super) fn read(link: &str) -> io::Result<Option<Shown>> {
    run(async |handle: Handle| {
        let link = find(&handle, link, None).await?;
        shown(&handle, &link).await
    })
}

/// A runtime and a socket of this thread's own: it is the thread that is in the namespace.
fn run<T>(work: impl AsyncFnOnce(Handle) -> io::Result<T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        work(handle).await
    })
}

async fn find(handle: &Handle, name: &str, label: Option<&str>) -> io::Result<LinkMessage> {
    let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await.map_err(as_io)?;
    let link = found.ok_or(io::ErrorKind::NotFound)?;
    let alias = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
        _ => None,
    });
    if label.is_some() && alias != label {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, Foreign));
    }
    Ok(link)
}

fn root_of(link: &LinkMessage) -> TcMessage {
    let mut message = TcMessage::with_index(link.header.index.cast_signed());
    message.header.parent = TcHandle::ROOT;
    message
}

async fn shown(handle: &Handle, link: &LinkMessage) -> io::Result<Option<Shown>> {
    let index = link.header.index.cast_signed();
    let all: Vec<TcMessage> = handle.qdisc().get().index(index).execute().try_collect().await.map_err(as_io)?;
    let is_netem = |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == KIND);
    let found = all.into_iter().find(|qdisc| {
        qdisc.header.index == index && qdisc.header.parent == TcHandle::ROOT && qdisc.attributes.iter().any(is_netem)
    });
    Ok(found.map(|qdisc| shown_in(&qdisc.attributes)))
}

fn shown_in(attributes: &[TcAttribute]) -> Shown {
    let mut shown = Shown { options: Vec::new(), dropped: 0, held: 0 };
    for attribute in attributes {
        match attribute {
            TcAttribute::Options(options) => {
                if let Some(TcOption::Other(other)) = options.first() {
                    shown.options = bytes_of(other);
                }
            }
            TcAttribute::Stats2(stats) => {
                for one in stats {
                    if let TcStats2::Queue(queue) = one {
                        (shown.dropped, shown.held) = (queue.drops, queue.qlen);
                    }
                }
            }
            _ => {}
        }
    }
    shown
}

/// The payload of an attribute that the library does not know.
fn bytes_of(attribute: &DefaultNla) -> Vec<u8> {
    use rtnetlink::packet_core::Nla as _;
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes
}

/// One request and its acknowledgement.
async fn request(mut handle: Handle, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let answers = handle.request(message).map_err(as_io)?;
    let mut answers = std::pin::pin!(answers);
    while let Some(answer) = futures_util::StreamExt::next(&mut answers).await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(error.to_io());
        }
    }
    Ok(())
}

fn as_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
