//! Owns the loop's dealings with gossip: what this host tells is shown once it is kept, peers that know
//! other things are asked, and what they tell is judged like what a broker shows.

use std::net::IpAddr;
use std::sync::Arc;

use sealane_api::gossip::frame::Frame;
use sealane_api::gossip::rhythm::Ended;
use sealane_api::gossip::telling::Telling;
use sealane_api::kinds::AdvertisementSpec;
use sealane_probe::datagram::Digest;

use crate::advertise::Author;
use crate::departure::Departure;
use crate::facts;
use crate::gossip::{Reception, Told, wire};
use crate::run::Agent;
use crate::trust::told::Hearsay;

impl Agent {
    /// Takes a turn: shows what is told now, and asks who is due.
    pub(super) fn gossip(&mut self) {
        let heard = self.paths.take_heard();
        self.outdate_told(&heard);
        self.gossip.hear(heard, self.paths.peers());
        self.refresh_telling();
        if self.gossip.announces() {
            self.paths.announce();
        }
        if self.session.is_none() {
            return;
        }
        for peer in self.gossip.due() {
            self.ask_peer(peer);
        }
    }

    /// Forgets what was refused of peers that know nothing else any more, or are none.
    fn outdate_told(&mut self, heard: &[(IpAddr, Digest)]) {
        let Some(session) = &mut self.session else { return };
        let own = &session.own.member;
        for peer in self.gossip.agreeing(heard) {
            if let Some(teller) = self.paths.member_behind(peer, own) {
                session.trust.forget_told(&teller);
            }
        }
        let peers = self.paths.peers();
        if !self.gossip.follows(peers) {
            let tellers = peers.values().map(|member| member.as_ref().unwrap_or(own).clone());
            session.trust.retain_tellers(&tellers.collect());
        }
    }

    /// Takes what a peer told.
    pub(super) fn take_told(&mut self, told: Told) {
        let now = self.now();
        let (Some(session), Some(seen)) = (&mut self.session, &self.seen) else { return };
        let own = session.own.member.clone();
        let Some(teller) = self.paths.member_behind(told.from, &own) else {
            // It is no peer any more; should it come back, it is not taken for one that is asked.
            return self.gossip.took(told.from, Reception::Sound, told.ended);
        };
        let facts = facts::local(session, &self.config, seen);
        let hearsay = Hearsay { teller: &teller, list: told.list.as_deref(), words: &told.words };
        let (outcome, reception) = session.trust.told(&hearsay, now, &facts);
        if outcome.changed {
            let (lists, words) = (u8::from(told.list.is_some()), told.words.len());
            tracing::info!(peer = %teller, lists, words, "heard from a peer");
        }
        self.gossip.took(told.from, reception, told.ended);
        self.note(outcome);
    }

    fn refresh_telling(&mut self) {
        let now = self.now();
        let (Some(session), Some(seen)) = (&mut self.session, &self.seen) else { return };
        // A last word that no broker took may yet be taken back, and was where nobody leaves.
        let may_speak = self.departure.as_ref().is_none_or(Departure::has_spoken);
        let stays = self.departure.is_none();
        let author = session.author.as_ref().filter(|author| stays && author.has_withdrawn());
        let taken_back = author.and_then(Author::spoken);
        let words = session.words().filter(|word| may_speak && taken_back != Some(*word));
        self.gossip.says(words);
        // What is not on disk is not told either.
        if !self.gossip.is_due() || !session.trust.is_saved() {
            return;
        }
        let words: Vec<AdvertisementSpec> =
            session.words().filter(|_| may_speak).cloned().collect();
        let facts = facts::local(session, &self.config, seen);
        for word in &words {
            session.trust.tell_own(word, now, &facts);
        }
        let telling = Telling::of(session.trust.receiver(), now, self.gossip.telling());
        let is_news = self.gossip.tell(telling);
        self.paths.desk().show(Arc::clone(self.gossip.telling()));
        if is_news {
            self.paths.say(self.gossip.digest());
        }
    }

    fn ask_peer(&mut self, peer: IpAddr) {
        let Some(session) = &mut self.session else { return };
        let way = self.paths.way_to(peer);
        let teller = self.paths.member_behind(peer, &session.own.member);
        let (Some(way), Some(teller)) = (way, teller) else {
            return self.gossip.took(peer, Reception::Sound, Some(Ended::Failed));
        };
        session.trust.forget_told(&teller);
        let question = Frame::Ask(self.gossip.telling().standing().clone()).encode();
        let reader = tokio::spawn(wire::ask(way, peer, question, self.events.clone()));
        self.gossip.reads(peer, reader.abort_handle());
    }
}
