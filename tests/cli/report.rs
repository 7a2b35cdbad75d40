//! `reflux report`
