// The real cosign, of two generations: with a local key and without its transparency log, as nodes that are
// cut off need it.
#include "shell.hpp"
#include "signed_cache.hpp"

#include <filesystem>

#include <boost/json.hpp>

namespace fallbackd {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using test::Output;

const std::string kType = "https://fallbackd.io/attestations/binary/v1";

struct CosignTest : testing::TestWithParam<const char*> {
  void SetUp() override {
    cosign = std::string(COSIGNS) + "/" + GetParam() + "/cosign";
    if (!fs::exists(cosign))
      GTEST_SKIP() << "scripts/fetch-suites has not fetched the cosign of " << GetParam();
    ASSERT_EQ(::geteuid(), 0U) << "the cache must belong to root";
    for (const auto* name : {"cache", "keys"}) fs::create_directory(path(name));
    ASSERT_EQ(run("cosign generate-key-pair --output-key-prefix theirs").code, 0);
    ASSERT_EQ(ctl("keygen --out ours").code, 0);
    fs::copy_file(path("theirs.pub"), path("keys/theirs.pub"));
    test::writeBytes(path("checkout-v1.8.3"), test::program("elf-static-pie"));
    test::writeBytes(path("predicate.json"),
                     R"({"name":"checkout","version":"1.8.3","os":"linux","arch":")" +
                         std::string(cache::nodeArchitecture()) + R"(","expires":"2199-01-01T00:00:00Z"})",
                     0644);
    const auto help = run("cosign attest-blob --help").text;
    // The later one knows no other bundle, and asks a signing configuration whom to tell: nobody.
    newer = help.find("--signing-config") != std::string::npos;
    const auto nobody = newer ? run("cosign signing-config create > nobody.json") : Output();
    ASSERT_EQ(nobody.code, 0) << nobody.text;
    // The earlier one would fetch a list of logs, though it need not look at any.
    if (!newer) {
      folder.write("nobody.json",
                   R"({"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"})");
    }
  }

  [[nodiscard]] std::string path(const std::string& name) const { return folder.path() + "/" + name; }
  /// In the folder, which is also cosign's home; it would wait for a password on a terminal.
  Output run(std::string command) const {
    const std::string word = "cosign ";
    if (command.starts_with(word)) command = cosign + " " + command.substr(word.size());
    return test::shell("cd " + folder.path() + " && HOME=" + folder.path() + " COSIGN_PASSWORD= timeout 60 " +
                       command + " < /dev/null");
  }
  Output ctl(const std::string& args) const { return run(std::string(FALLBACKCTL) + " " + args); }

  /// What cosign attests of the binary, as the file that `form` names.
  std::string attest(const std::string& form) const {
    const auto output =
        run("cosign attest-blob --yes --key theirs.key --type " + kType + " --predicate predicate.json " +
            (newer ? "--signing-config nobody.json " : "--tlog-upload=false ") + form +
            " theirs.json checkout-v1.8.3");
    EXPECT_EQ(output.code, 0) << output.text;
    return test::readBytes(path("theirs.json"));
  }
  std::string bundle() const { return attest(newer ? "--bundle" : "--new-bundle-format --bundle"); }

  /// fallbackctl verify of the binary with this attestation beside it.
  Output admit(const std::string& attestation,
               const std::string& binary = test::program("elf-static-pie")) const {
    test::writeBytes(path("cache/checkout-v1.8.3"), binary);
    test::writeBytes(path("cache/checkout-v1.8.3.sigstore.json"), attestation, 0644);
    return ctl("verify --cache " + path("cache") + " --keys " + path("keys") + " --state " + path("state"));
  }
  Output cosignVerifies(const std::string& key, const std::string& binary) const {
    return run("cosign verify-blob-attestation --insecure-ignore-tlog --key " + key + " --type " + kType +
               (newer ? "" : " --new-bundle-format --trusted-root nobody.json") + " --bundle ours.json " +
               binary);
  }

  test::TempFolder folder;
  std::string cosign;
  bool newer = false;
};

TEST_P(CosignTest, WhatCosignSignsWeAdmit) {
  const auto text = bundle();
  auto bytes = json::parse(text).as_object();
  EXPECT_EQ(bytes.at("mediaType").as_string(), "application/vnd.dev.sigstore.bundle.v0.3+json");
  const auto admitted = admit(text);
  EXPECT_EQ(admitted.code, 0) << admitted.text << text;
  // Neither writes the older bundles any more; with a public key they differ in the media type alone.
  for (const auto* version : {"0.1", "0.2", "0.3"}) {
    bytes["mediaType"] = std::string("application/vnd.dev.sigstore.bundle+json;version=") + version;
    const auto older = admit(json::serialize(bytes));
    EXPECT_EQ(older.code, 0) << version << ": " << older.text;
  }
  const auto bare = admit(json::serialize(bytes.at("dsseEnvelope")));
  EXPECT_EQ(bare.code, 0) << bare.text;
}

TEST_P(CosignTest, ItsBareEnvelopeIsAdmitted) {
  if (newer) GTEST_SKIP() << "this cosign writes bundles only";
  const auto admitted = admit(attest("--output-signature"));
  EXPECT_EQ(admitted.code, 0) << admitted.text;
}

TEST_P(CosignTest, WhatItSignedIsNoPassForOthers) {
  const auto text = bundle();
  auto changed = test::program("elf-static-pie");
  changed[changed.size() / 2] ^= 1;
  EXPECT_NE(admit(text, changed).text.find("digest_mismatch"), std::string::npos);
  fs::remove(path("keys/theirs.pub"));
  fs::copy_file(path("ours.pub"), path("keys/ours.pub"));
  EXPECT_NE(admit(text).text.find("untrusted_key"), std::string::npos);
}

TEST_P(CosignTest, WhatWeSignCosignVerifies) {
  const auto sign = [&] {
    const auto output = ctl(
        "sign --key ours.key --name checkout --version 1.8.3 --expires 30d --out ours.json checkout-v1.8.3");
    ASSERT_EQ(output.code, 0) << output.text;
  };
  sign();
  const auto verified = cosignVerifies("ours.pub", "checkout-v1.8.3");
  EXPECT_EQ(verified.code, 0) << verified.text;
  EXPECT_NE(cosignVerifies("theirs.pub", "checkout-v1.8.3").code, 0) << "another key";
  test::writeBytes(path("changed"), test::program("elf-static-pie") + "x");
  EXPECT_NE(cosignVerifies("ours.pub", "changed").code, 0) << "other bytes";
  // The lines that limit the time of a key are no trouble to it.
  for (const auto* name : {"ours.key", "ours.pub"}) fs::remove(path(name));
  ASSERT_EQ(ctl("keygen --out ours --not-after 2199-01-01").code, 0);
  sign();
  const auto limited = cosignVerifies("ours.pub", "checkout-v1.8.3");
  EXPECT_EQ(limited.code, 0) << limited.text;
}

INSTANTIATE_TEST_SUITE_P(Suites, CosignTest, testing::Values("trixie", "sid"),
                         [](const auto& suite) { return std::string(suite.param); });

}  // namespace
}  // namespace fallbackd
