//! Transcripts of the command line: each command with what it prints and its exit status. `TRYCMD=overwrite cargo test
//! --test cli` writes what is printed now; read the difference before it is committed.

#[test]
fn every_transcript_is_what_the_command_prints() {
    trycmd::TestCases::new().case("tests/cmd/*.md");
}
