// SPDX-License-Identifier: Apache-2.0
// Attestations between the real cosign and fallbackctl, in both directions. cosign runs without any network:
// local keys, no transparency log, an empty trusted root.
#include "cache/attestation.hpp"
#include "cache/elf.hpp"
#include "content_of.hpp"
#include "e2e_gtest.hpp"
#include "process.hpp"
#include "run_dir.hpp"
#include "temp_folder.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace fallbackd::e2e {
namespace {

using test::contentOf;
using Args = std::vector<std::string>;

void flipByte(const std::string& path) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(path) / 2);
  file.seekg(middle);
  const int byte = file.get();
  file.seekp(middle);
  file.put(static_cast<char>(byte ^ 1));
}

bool has(const Output& output, const std::string& text) {
  return output.text.find(text) != std::string::npos;
}

/// The attestation formats that attest-blob can write.
enum class Form { bundle, bareEnvelope, oldBundle, bareStatement };

/// Parameter: the suite that scripts/fetch-suites took the cosign from.
class Cosign : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    cosign_ = std::filesystem::path(FALLBACKD_COSIGNS) / GetParam() / "cosign";
    if (!std::filesystem::exists(cosign_)) {
      GTEST_SKIP() << "scripts/fetch-suites has not fetched the cosign of " << GetParam();
    }
    for (const auto* name : {"cache", "keys", "home"}) std::filesystem::create_directory(path(name));
    std::filesystem::copy_file(testProgram("elf-static-pie"), path("program"));
    std::ofstream(path("predicate.json"))
        << R"({"name":"checkout","version":"1.8.3","os":"linux","arch":")" << cache::nodeArchitecture()
        << R"(","expires":"2199-12-31T00:00:00Z"})";
    // Version 3 takes its services from a file, no longer from one flag each.
    E2E_TRY(const auto help, cosign({"attest-blob", "--help"}));
    hasSigningConfig_ = has(help, "--signing-config");
    E2E_CHECK(cosignOk({"trusted-root", "create", "--out", path("root.json")}));
    if (hasSigningConfig_) E2E_CHECK(cosignOk({"signing-config", "create", "--out", path("signing.json")}));
  }

  [[nodiscard]] std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

  [[nodiscard]] Command cosignCommand(const Args& args) const {
    Command command{.argv = {"unshare", "--net", cosign_},
                    .env = {{"HOME", path("home")}, {"COSIGN_PASSWORD", password_}},
                    .output = {}};
    command.argv.insert(command.argv.end(), args.begin(), args.end());
    return command;
  }
  [[nodiscard]] Result<Output> cosign(const Args& args) const { return run(cosignCommand(args)); }
  [[nodiscard]] Result<std::string> cosignOk(const Args& args) const { return runOk(cosignCommand(args)); }

  static Result<Output> ctl(const Args& args) {
    Command command{.argv = {binary("fallbackctl")}, .env = {}, .output = {}};
    command.argv.insert(command.argv.end(), args.begin(), args.end());
    return run(command);
  }

  /// Creates NAME.key and NAME.pub with fallbackctl.
  void keygen(const std::string& name, const std::string& type = "p256") const {
    E2E_TRY(const auto made, ctl({"keygen", "--type", type, "--out", path(name)}));
    ASSERT_EQ(made.code, 0) << made.text;
  }

  /// Lets cosign attest the program, into NAME.json.
  [[nodiscard]] Result<Output> attest(Form form, const std::string& key, const std::string& name) const {
    Args args{"attest-blob", "--yes",
              "--key",       path(key + ".key"),
              "--predicate", path("predicate.json"),
              "--type",      std::string(cache::kPredicateType)};
    const auto add = [&](const Args& more) { args.insert(args.end(), more.begin(), more.end()); };
    if (form == Form::bundle && hasSigningConfig_) {
      add({"--signing-config", path("signing.json"), "--trusted-root", path("root.json")});
    } else {
      add({"--tlog-upload=false"});
      if (form == Form::bundle) add({"--new-bundle-format"});
      // Version 3 still accepts these, but its help no longer shows them.
      if (hasSigningConfig_) add({"--use-signing-config=false", "--new-bundle-format=false"});
    }
    if (form == Form::bundle || form == Form::oldBundle) add({"--bundle"});
    if (form == Form::bareEnvelope) add({"--output-signature"});
    if (form == Form::bareStatement) add({"--output-attestation"});
    add({path(name + ".json"), path("program")});
    return cosign(args);
  }

  /// Puts the program and NAME.json into the cache and KEY.pub into the keyring, and runs fallbackctl verify.
  [[nodiscard]] Result<Output> admit(const std::string& name, const std::string& key) const {
    const auto overwrite = std::filesystem::copy_options::overwrite_existing;
    std::filesystem::copy_file(path("program"), path("cache/checkout-v1.8.3"), overwrite);
    std::filesystem::copy_file(path(name + ".json"), path("cache/checkout-v1.8.3.sigstore.json"), overwrite);
    std::filesystem::copy_file(path(key + ".pub"), path("keys/only.pub"), overwrite);
    return ctl({"verify", "--cache", path("cache"), "--keys", path("keys"), "--state", path("state")});
  }

  /// cosign's own verdict on the program and NAME.json.
  [[nodiscard]] Result<Output> cosignVerify(const std::string& name, const std::string& key) const {
    Args args{"verify-blob-attestation",
              "--key",
              path(key + ".pub"),
              "--bundle",
              path(name + ".json"),
              "--type",
              std::string(cache::kPredicateType),
              "--trusted-root",
              path("root.json"),
              "--insecure-ignore-tlog"};
    if (!hasSigningConfig_) args.emplace_back("--new-bundle-format");
    args.push_back(path("program"));
    return cosign(args);
  }

  void expectOnlyTheOriginalIsAdmitted(const std::string& name, const std::string& key) const {
    E2E_TRY(const auto admitted, admit(name, key));
    EXPECT_EQ(admitted.code, 0) << admitted.text;
    keygen("stranger");
    E2E_TRY(const auto stranger, admit(name, "stranger"));
    EXPECT_EQ(stranger.code, 1);
    EXPECT_TRUE(has(stranger, "untrusted_key")) << stranger.text;
    flipByte(path("program"));
    E2E_TRY(const auto changed, admit(name, key));
    EXPECT_EQ(changed.code, 1);
    EXPECT_TRUE(has(changed, "digest_mismatch")) << changed.text;
  }

  void expectCosignVerifiesWhatWeSign(const std::string& type) const {
    keygen("ours", type);
    keygen("stranger", type);
    E2E_TRY(const auto ours, ctl({"sign", "--key", path("ours.key"), "--name", "checkout", "--version",
                                  "1.8.3", "--expires", "30d", "--out", path("ours.json"), path("program")}));
    ASSERT_EQ(ours.code, 0) << ours.text;
    E2E_TRY(const auto verified, cosignVerify("ours", "ours"));
    EXPECT_EQ(verified.code, 0) << verified.text;
    EXPECT_TRUE(has(verified, "Verified OK")) << verified.text;
    E2E_TRY(const auto stranger, cosignVerify("ours", "stranger"));
    EXPECT_NE(stranger.code, 0);
    EXPECT_TRUE(has(stranger, "accepted signatures do not match threshold")) << stranger.text;
    flipByte(path("program"));
    E2E_TRY(const auto changed, cosignVerify("ours", "ours"));
    EXPECT_NE(changed.code, 0);
    EXPECT_TRUE(has(changed, "provided artifact digest")) << changed.text;
  }

  void makeCosignKey() const {
    E2E_CHECK(cosignOk({"generate-key-pair", "--output-key-prefix", path("cosign")}));
  }

  bool hasSigningConfig_ = false;
  std::string password_;  // of cosign's keys

 private:
  test::TempFolder folder_;
  std::string cosign_;
};

TEST_P(Cosign, ItsBundleIsAdmitted) {
  makeCosignKey();
  E2E_TRY(const auto made, attest(Form::bundle, "cosign", "theirs"));
  ASSERT_EQ(made.code, 0) << made.text;
  EXPECT_NE(contentOf(path("theirs.json")).find("application/vnd.dev.sigstore.bundle.v0.3+json"),
            std::string::npos);
  expectOnlyTheOriginalIsAdmitted("theirs", "cosign");
}

/// Like a key in a KMS, with one of cosign's own encrypted files in its place: only cosign can use it.
TEST_P(Cosign, AKeyThatOnlyCosignCanOpenSigns) {
  password_ = "correct horse";
  makeCosignKey();
  E2E_TRY(const auto published, cosignOk({"public-key", "--key", path("cosign.key")}));
  std::ofstream(path("cosign.pub")) << published;
  E2E_TRY(const auto made, attest(Form::bundle, "cosign", "theirs"));
  ASSERT_EQ(made.code, 0) << made.text;
  expectOnlyTheOriginalIsAdmitted("theirs", "cosign");
  E2E_TRY(const auto ours, ctl({"sign", "--key", path("cosign.key"), "--name", "checkout", "--version",
                                "1.8.3", "--expires", "30d", "--skip-form-check", path("program")}));
  EXPECT_EQ(ours.code, 1);
  EXPECT_TRUE(has(ours, "cosign attest-blob --key")) << ours.text;
  password_ = "wrong";
  E2E_TRY(const auto refused, attest(Form::bundle, "cosign", "again"));
  EXPECT_NE(refused.code, 0) << refused.text;
}

TEST_P(Cosign, ItsBareEnvelopeIsAdmitted) {
  makeCosignKey();
  E2E_TRY(const auto made, attest(Form::bareEnvelope, "cosign", "theirs"));
  if (has(made, "unknown flag")) GTEST_SKIP() << "this cosign no longer writes bare envelopes";
  ASSERT_EQ(made.code, 0) << made.text;
  EXPECT_EQ(contentOf(path("theirs.json")).find("mediaType"), std::string::npos);
  expectOnlyTheOriginalIsAdmitted("theirs", "cosign");
}

// No cosign in Debian writes 0.1 or 0.2. By the Sigstore specification (protos/sigstore_bundle.proto) they
// differ from 0.3 in the media type, in certificate chains and in what a log entry must prove. A bundle that
// is signed with a key and not logged differs only in the media type. cosign itself accepts the derived
// bundles, which shows that they are valid.
TEST_P(Cosign, BundlesOfOlderVersionsAreAdmitted) {
  makeCosignKey();
  E2E_TRY(const auto made, attest(Form::bundle, "cosign", "theirs"));
  ASSERT_EQ(made.code, 0) << made.text;
  const auto bundle = contentOf(path("theirs.json"));
  const std::string current = "application/vnd.dev.sigstore.bundle.v0.3+json";
  const auto at = bundle.find(current);
  ASSERT_NE(at, std::string::npos) << bundle;
  for (const auto* version : {"0.1", "0.2", "0.3"}) {
    SCOPED_TRACE(version);
    auto older = bundle;
    older.replace(at, current.size(),
                  std::string("application/vnd.dev.sigstore.bundle+json;version=") + version);
    std::ofstream(path("older.json")) << older;
    E2E_TRY(const auto theirs, cosignVerify("older", "cosign"));
    EXPECT_EQ(theirs.code, 0) << theirs.text;
    E2E_TRY(const auto ours, admit("older", "cosign"));
    EXPECT_EQ(ours.code, 0) << ours.text;
  }
}

TEST_P(Cosign, RefusalsOfUnsupportedFormsSayWhatToDo) {
  makeCosignKey();
  struct Case {
    Form form;
    std::string advice;
  };
  for (const auto& one :
       {Case{Form::oldBundle, "--new-bundle-format"}, Case{Form::bareStatement, "--bundle"}}) {
    E2E_TRY(const auto made, attest(one.form, "cosign", "theirs"));
    if (has(made, "unknown flag")) GTEST_SKIP() << "this cosign no longer writes the old forms";
    ASSERT_EQ(made.code, 0) << made.text;
    E2E_TRY(const auto refused, admit("theirs", "cosign"));
    EXPECT_EQ(refused.code, 1);
    EXPECT_TRUE(has(refused, "attestation_unsupported") && has(refused, one.advice)) << refused.text;
  }
}

TEST_P(Cosign, ImportsAKeyOfKeygen) {
  keygen("ours");
  E2E_TRY(const auto imported, cosign({"import-key-pair", "--yes", "--key", path("ours.key"),
                                       "--output-key-prefix", path("imported")}));
  // Debian's 2.5.0 imports neither PKCS #8 nor SEC 1, only keys from its own generate-key-pair.
  if (has(imported, "error validating ecdsa key: unsupported public key type")) {
    GTEST_SKIP() << "this cosign's import-key-pair refuses P-256 keys:  " << imported.text;
  }
  ASSERT_EQ(imported.code, 0) << imported.text;
  E2E_TRY(const auto made, attest(Form::bundle, "imported", "theirs"));
  ASSERT_EQ(made.code, 0) << made.text;
  expectOnlyTheOriginalIsAdmitted("theirs", "ours");
}

TEST_P(Cosign, VerifiesWhatWeSign) {
  expectCosignVerifiesWhatWeSign("p256");
}

TEST_P(Cosign, VerifiesWhatWeSignWithEd25519) {
  expectCosignVerifiesWhatWeSign("ed25519");
}

TEST_P(Cosign, ItsEd25519IsAdmitted) {
  keygen("ours", "ed25519");
  E2E_CHECK(cosignOk(
      {"import-key-pair", "--yes", "--key", path("ours.key"), "--output-key-prefix", path("imported")}));
  E2E_TRY(const auto made, attest(Form::bundle, "imported", "theirs"));
  // cosign 3 signs with Ed25519ph and verifies with plain Ed25519, as we do: sigstore/cosign#5074.
  if (hasSigningConfig_ && has(made, "could not verify envelope")) {
    GTEST_SKIP() << "this cosign refuses its own Ed25519 signature: " << made.text;
  }
  ASSERT_EQ(made.code, 0) << made.text;
  expectOnlyTheOriginalIsAdmitted("theirs", "ours");
}

INSTANTIATE_TEST_SUITE_P(Suites, Cosign, testing::Values("trixie", "sid"),
                         [](const auto& suite) { return suite.param; });

}  // namespace
}  // namespace fallbackd::e2e
