//! Scripts of other origins (Fetch Standard section 3.2): which may read a response, and what a preflight grants them.
//!
//! Without `--cors` nothing here is done. With it every response can be read, those that refuse a request among them, so
//! that a player can say what is wrong.

use super::App;
use super::exchange::{Exchange, Noted, Plan, Reply, Side};
use super::problem::Problem;
use crate::http::conn::Request;
use crate::http::origin::Origins;
use crate::http::{Head, Method, Refusal, is_token_list};
use crate::streams::arena::{Arena, Word};

/// What a preflight grants whose head is not known. The asterisk is for all names but `Authorization`.
const ANY_FIELDS: &[u8] = b"Authorization, *";

/// What a preflight is answered, instead of what the same path answers to OPTIONS.
pub(super) fn reply(plan: &Result<Plan, Problem>, names: Word<Noted>) -> Reply {
    match plan {
        Ok(Plan::Reply(Reply::Options(allow))) => Reply::Preflight(allow, names),
        _ => Reply::Preflight("", names),
    }
}

impl App {
    /// The origin to be written beside the response, if it is one of those listed. Where all may read it there is none.
    pub(super) fn granted(
        &self,
        side: Side,
        head: &Head,
        bytes: &[u8],
        texts: &mut Arena<Noted>,
    ) -> Word<Noted> {
        match &self.settings.cors {
            Some(origins @ Origins::Listed(_)) if side == Side::Public => {
                let origin = head.origin.of(bytes);
                if origins.contain(origin) { texts.add(origin) } else { Word::default() }
            }
            _ => Word::default(),
        }
    }

    /// The field names that this preflight asks for; None if it is none. It is answered on every path: a browser keeps from
    /// its scripts what was answered to a request whose preflight failed.
    pub(super) fn preflight(
        &self,
        side: Side,
        request: &Request,
        texts: &mut Arena<Noted>,
    ) -> Option<Word<Noted>> {
        let Head { method, origin, cors_headers, .. } = request.head;
        if method != Method::Options
            || side == Side::Admin
            || self.settings.cors.is_none()
            || origin.is_empty()
        {
            return None;
        }
        let names = request.get(cors_headers);
        Some(if is_token_list(names) { texts.add(names) } else { Word::default() })
    }

    /// Makes a refusal readable whose head is not all there. Its origin is not known then; but such a refusal
    /// says nothing of any user, so all may read it.
    pub(super) fn make_readable(
        &self,
        mut exchange: Exchange,
        problem: Problem,
        known: Option<(&Head, &[u8])>,
        texts: &mut Arena<Noted>,
    ) -> Exchange {
        let Some(origins) = &self.settings.cors else { return exchange };
        if exchange.source.side == Side::Admin {
            return exchange;
        }
        if *origins != Origins::Any && known.is_none_or(|(head, _)| head.origin.is_empty()) {
            exchange.origin = texts.add(b"*");
        }
        let too_long = problem == Problem::Framing(Refusal::RequestLineTooLong);
        if too_long && exchange.method == Method::Options {
            // Taken for a preflight, so that the script can read that its own request is too long.
            exchange.plan = Plan::Reply(Reply::Preflight("", texts.add(ANY_FIELDS)));
        }
        exchange
    }
}
