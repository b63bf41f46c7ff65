//! Scripts of other origins (Fetch Standard section 3.2): which may read a response, and what a preflight grants them.
//!
//! Without `--cors` nothing here is done. With it every response can be read, those that refuse a request among them, so
//! that a player can say what is wrong.

use super::App;
use super::exchange::{Exchange, Noted, Plan, Side};
use super::problem::Problem;
use crate::http::conn::Request;
use crate::http::origin::Origins;
use crate::http::{Head, Method, Refusal, is_token_list};
use crate::streams::arena::{Arena, Word};

/// What a preflight grants whose head is not known. The asterisk is for all names but `Authorization`.
const ANY_FIELDS: &[u8] = b"Authorization, *";

impl App {
    /// Whose scripts may read the responses. Those of the admin listener no script of another origin may.
    pub(super) fn cors(&self) -> Option<&Origins> {
        self.site.config.cors.as_ref().filter(|_| self.side == Side::Public)
    }

    /// The origin of a script, and whether it is one of those listed. There is none where all may read, nor where the script
    /// is this host's own; and where no origin is listed, only a preflight says for certain that it is not.
    pub(super) fn origin(&self, head: &Head, bytes: &[u8], texts: &mut Arena<Noted>) -> (Word<Noted>, bool) {
        let origin = head.origin.of(bytes);
        let is_listed = match self.cors() {
            _ if origin.is_empty() || self.side == Side::Admin => return Default::default(),
            Some(Origins::Any) => return Default::default(),
            Some(origins) => origins.contain(origin),
            None if head.method == Method::Options => false,
            None => return Default::default(),
        };
        let is_own = origin.strip_suffix(head.host.of(bytes)).is_some_and(|begin| begin.ends_with(b"://"));
        if is_listed || !is_own { (texts.add(origin), is_listed) } else { Default::default() }
    }

    /// The field names that this preflight asks for; None if it is none. It is answered on every path: a browser keeps from
    /// its scripts what was answered to a request whose preflight failed.
    pub(super) fn preflight(&self, request: &Request, texts: &mut Arena<Noted>) -> Option<Word<Noted>> {
        let Head { method, origin, cors_headers, .. } = request.head;
        if method != Method::Options || self.cors().is_none() || origin.is_empty() {
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
        let Some(origins) = self.cors() else { return exchange };
        if *origins != Origins::Any && known.is_none_or(|(head, _)| head.origin.is_empty()) {
            (exchange.origin, exchange.is_granted) = (texts.add(b"*"), true);
        }
        let too_long = problem == Problem::Framing(Refusal::RequestLineTooLong);
        if too_long && exchange.method == Method::Options {
            // Taken for a preflight, so that the script can read that its own request is too long.
            exchange.plan = Plan::Preflight("", texts.add(ANY_FIELDS));
        }
        exchange
    }
}
