// SPDX-License-Identifier: Apache-2.0
// The built fallbackctl on real files, as a person or an init container runs it.
#include "ctl_fixture.hpp"
#include "output_schema.hpp"

namespace fallbackd {
namespace {

using test::CtlTest;
using test::kProgram;
using test::Output;
using test::shell;

TEST_F(CtlTest, IsOneStaticFile) {
  if (!STATIC_TOOLS) GTEST_SKIP() << "sanitizers need a dynamic program";
  const auto output = shell(std::string("file -L ") + FALLBACKCTL);
  EXPECT_TRUE(output.text.find("statically linked") != std::string::npos ||
              output.text.find("static-pie linked") != std::string::npos)
      << output.text;
  EXPECT_EQ(output.text.find("interpreter"), std::string::npos) << output.text;
}

TEST_F(CtlTest, SignInstallListVerify) {
  const auto installed = install(kProgram, "checkout");
  ASSERT_EQ(installed.code, 0) << installed.text;
  const auto list = ctl("list" + where);
  EXPECT_EQ(list.code, 0);
  EXPECT_EQ(list.text.find("NAME      VERSION  DIGEST        KEY           EXPIRES     STATE  SIZE"), 0U)
      << list.text;
  EXPECT_NE(list.text.find("  ok     "), std::string::npos) << list.text;
  EXPECT_EQ(ctl("verify" + where).code, 0);
  EXPECT_NE(ctl("list -o json" + where).text.find(R"("admitted":true)"), std::string::npos);
}

TEST_F(CtlTest, PathsAreRelativeToTheWorkingDirectory) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  const auto here = "cd " + path("keys") + " && " + FALLBACKCTL;
  const std::string relative = " --cache ../cache --keys . --state ../state ";
  const auto again = shell(here + " install" + relative + "--attestation ../a.json " + kProgram);
  EXPECT_EQ(again.code, 0) << again.text;
  const auto list = shell(here + " list" + relative);
  EXPECT_NE(list.text.find("  ok     "), std::string::npos) << list.text;
}

TEST_F(CtlTest, VerifyNamesEachReason) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  auto bytes = test::program("elf-static-pie");
  bytes[bytes.size() / 2] ^= 1;
  test::writeBytes(path("cache/checkout-v1.8.3"), bytes);
  const auto output = ctl("verify checkout@1.8.3 other@1.0" + where);
  EXPECT_EQ(output.code, 1);
  EXPECT_NE(output.text.find("checkout@1.8.3: refused: admission: digest_mismatch"), std::string::npos)
      << output.text;
  EXPECT_NE(output.text.find("other@1.0: refused: admission: not_found: open " + path("cache/other-v1.0: ")),
            std::string::npos)
      << output.text;
}

TEST_F(CtlTest, InstallAcceptsOnlyAdmissibleBinaries) {
  EXPECT_EQ(install(PROGRAMS "/elf-dynamic", "checkout").code, 1) << "sign refuses it";
  const auto forced = install(PROGRAMS "/elf-dynamic", "checkout", "--skip-form-check");
  EXPECT_EQ(forced.code, 1);
  EXPECT_NE(forced.text.find("elf_dynamic"), std::string::npos) << forced.text;
  EXPECT_TRUE(std::filesystem::is_empty(path("cache"))) << "nothing is left behind";
}

TEST_F(CtlTest, ExecBecomesTheBinary) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  EXPECT_EQ(ctl("exec" + where + "checkout@1.8.3 -- 42").code, 42);
  EXPECT_FALSE(std::filesystem::exists(path("state/version-floor.json")))
      << "a command line does not move the floor";
  // The shell prints its pid and becomes fallbackctl, which becomes the binary. Everything after "--" belongs
  // to the program, even if it looks like our options.
  const auto same = shell("sh -c 'echo $$; exec " + std::string(FALLBACKCTL) + " exec" + where +
                          "checkout@1.8.3 -- --pid --config=/x -- --help'");
  const auto pid = same.text.substr(0, same.text.find('\n'));
  EXPECT_EQ(same.text, pid + "\n" + pid + " 5 --help\n");
}

TEST_F(CtlTest, AHealthCheckLeavesNothingBehind) {
  ASSERT_EQ(install(PROGRAMS "/elf-leaving", "leaving").code, 0);
  // A process left behind by the check would keep open the pipe that shell() reads to its end.
  EXPECT_EQ(ctl("exec" + where + "leaving@1.8.3 -- 42").code, 42);
}

TEST_F(CtlTest, VerifyJudgesAFileThatIsNotInTheCache) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);  // signs into a.json
  const auto good = ctl("verify" + where + "--bundle " + path("a.json") + " " + kProgram);
  EXPECT_EQ(good.code, 0) << good.text;
  EXPECT_NE(good.text.find(kProgram + " is checkout@1.8.3: ok, sha256 "), std::string::npos) << good.text;
  const auto other = ctl("verify" + where + "--bundle " + path("a.json") + " " PROGRAMS "/elf-leaving");
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.text.find("digest_mismatch"), std::string::npos) << other.text;
  EXPECT_NE(ctl("verify -o json" + where + "--bundle " + path("a.json") + " " + kProgram)
                .text.find(R"("admitted":true)"),
            std::string::npos);
  EXPECT_EQ(ctl("verify" + where + "--bundle " + path("none.json") + " " + kProgram).code, 1);
  EXPECT_EQ(ctl("verify" + where + "--bundle " + path("a.json")).code, 2) << "no file is named";
}

TEST_F(CtlTest, ItsJsonMatchesTheSchema) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  test::writeBytes(path("cache/broken-v1.0.0"), "x");
  const auto list = ctl("list -o json" + where).text;
  EXPECT_NE(list.find("broken"), std::string::npos) << list;
  EXPECT_EQ(test::schemaProblems("list", list), "");
  EXPECT_EQ(test::schemaProblems("verify", ctl("verify checkout@1.8.3 -o json" + where).text), "");
  EXPECT_EQ(test::schemaProblems(
                "install",
                ctl("install -o json" + where + "--attestation " + path("a.json") + " " + kProgram).text),
            "");
}

TEST_F(CtlTest, VerifyKnowsTheNodesFloor) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  EXPECT_FALSE(std::filesystem::exists(path("state"))) << "install and sign do not use it";
  std::filesystem::create_directory(path("state"));
  test::writeBytes(path("state/version-floor.json"), R"({"versions":{"checkout":"1.9.0"}})", 0644);
  const auto output = ctl("verify" + where);
  EXPECT_EQ(output.code, 1);
  EXPECT_NE(output.text.find("version_rollback"), std::string::npos) << output.text;
}

TEST_F(CtlTest, ExecObeysTheFloorUnlessTheConfigurationNamesTheVersion) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  std::filesystem::create_directory(path("state"));
  test::writeBytes(path("state/version-floor.json"), R"({"versions":{"checkout":"1.9.0"}})", 0644);
  const auto refused = ctl("exec" + where + "checkout@1.8.3 -- 42");
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.text.find("version_rollback"), std::string::npos) << refused.text;
  folder.write("fallbackd.yaml",
               "apiVersion: fallbackd.io/v1\nworkloads:\n- name: checkout\n"
               "  match: {container: checkout}\n  image: registry.example.com/checkout:1.8.3\n"
               "  binary: checkout@1.8.3\n");
  const auto configured = " --config " + path("fallbackd.yaml") + where;
  EXPECT_EQ(ctl("exec" + configured + "checkout@1.8.3 -- 42").code, 42);
  EXPECT_EQ(ctl("verify" + configured).code, 0);
  EXPECT_EQ(ctl("exec" + where + "checkout@1.8.3 -- 42").code, 1) << "the floor is unchanged";
}

TEST_F(CtlTest, AMinimumVersionThatRanMovesTheFloor) {
  ASSERT_EQ(install(kProgram, "checkout", "--minimum-version 1.8.0").code, 0);
  ASSERT_EQ(ctl("exec" + where + "checkout@1.8.3 -- 42").code, 42);
  EXPECT_NE(test::readBytes(path("state/version-floor.json")).find(R"("checkout":"1.8.0")"),
            std::string::npos);
}

TEST_F(CtlTest, AnOlderVersionMayBePutBackIntoTheCache) {
  std::filesystem::create_directory(path("state"));
  test::writeBytes(path("state/version-floor.json"), R"({"versions":{"checkout":"1.9.0"}})", 0644);
  const auto installed = install(kProgram, "checkout");
  EXPECT_EQ(installed.code, 0) << installed.text;
}

TEST_F(CtlTest, SignWritesTheNamespacesAndListShowsThem) {
  EXPECT_EQ(install(kProgram, "checkout", "--namespace Shop").code, 2);
  ASSERT_EQ(install(kProgram, "checkout", "--namespace shop --namespace shop-test").code, 0);
  const auto list = ctl("list -o json" + where);
  EXPECT_NE(list.text.find(R"("namespaces":["shop","shop-test"])"), std::string::npos) << list.text;
  EXPECT_EQ(ctl("exec" + where + "checkout@1.8.3 -- 42").code, 42) << "they apply only to pods' annotations";
}

TEST_F(CtlTest, SignRecordsTheImageConfiguration) {
  const std::string rest = R"(,"os":"linux","config":{"User":"65532","Entrypoint":["/app"],"Env":["A=b"]}})";
  const auto arch =
      shell("uname -m").text.starts_with("x86_64") ? std::string("amd64") : std::string("arm64");
  test::writeBytes(path("image.json"), R"({"architecture":")" + arch + R"(")" + rest, 0644);
  test::writeBytes(path("other.json"), R"({"architecture":"s390x")" + rest, 0644);
  test::writeBytes(path("inspect.json"), R"([{"Config":{}}])", 0644);
  ASSERT_EQ(install(kProgram, "checkout", "--image-config " + path("image.json")).code, 0);
  const auto list = ctl("list -o json" + where);
  EXPECT_NE(list.text.find(R"("image":{"user":"65532","env":["A=b"],"entrypoint":["/app"]})"),
            std::string::npos)
      << list.text;
  const auto other = install(kProgram, "checkout", "--image-config " + path("other.json"));
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.text.find("--override-arch " + arch), std::string::npos) << other.text;
  EXPECT_EQ(install(kProgram, "checkout", "--image-config " + path("inspect.json")).code, 1);
  EXPECT_EQ(install(kProgram, "checkout", "--image-config - < " + path("image.json")).code, 0);
}

TEST_F(CtlTest, SignRefusesDatesThatWouldWrap) {
  for (const auto* date : {"1700-01-01", "1999-12-31", "10000-01-01"}) {
    const auto output = ctl("sign --key " + path("k.key") + " --name a --version 1 --expires " + date +
                            " --out " + path("a.json") + " " + kProgram);
    EXPECT_EQ(output.code, 2) << date;
    EXPECT_EQ(ctl("keygen --not-after " + std::string(date) + " --out " + path("l")).code, 2) << date;
  }
  for (const auto* date : {"9999-12-31", "100000d"}) {
    const auto output = ctl("sign --force --key " + path("k.key") + " --name a --version 1 --expires " +
                            date + " --out " + path("a.json") + " " + kProgram);
    EXPECT_EQ(output.code, 0) << output.text;
    EXPECT_NE(output.text.find("until 2262-04-11"), std::string::npos) << output.text;
  }
}

TEST_F(CtlTest, InstallAcceptsOneAttestationOfEachSigner) {
  ASSERT_EQ(ctl("keygen --type ed25519 --out " + path("l")).code, 0);
  std::filesystem::copy_file(path("l.pub"), path("keys/l.pub"));
  const auto sign = [&](const std::string& key, const std::string& program) {
    const auto out = path(key + ".json");
    const auto done = ctl("sign --force --key " + path(key + ".key") +
                          " --name checkout --version 1.8.3 --expires 30d --out " + out + " " + program);
    EXPECT_EQ(done.code, 0) << done.text;
    return " --attestation " + out;
  };
  const auto first = sign("k", kProgram);
  const auto second = sign("l", kProgram);
  const std::string both = "install --threshold 2" + where;
  const auto one = ctl(both + first + " " + kProgram);
  EXPECT_EQ(one.code, 1);
  EXPECT_NE(one.text.find("threshold_not_met"), std::string::npos) << one.text;
  std::filesystem::create_directory(path("cache/.install-left"));  // left by an interrupted install
  const auto two = ctl(both + first + second + " " + kProgram);
  ASSERT_EQ(two.code, 0) << two.text;
  EXPECT_EQ(ctl("verify --threshold 2" + where).code, 0);
  EXPECT_FALSE(std::filesystem::exists(path("cache/.install-left")));
  // One signer signs different bytes with the same version: the other signer's attestation is removed.
  const auto newer = ctl("install" + where + sign("k", PROGRAMS "/elf-static") + " " PROGRAMS "/elf-static");
  ASSERT_EQ(newer.code, 0) << newer.text;
  EXPECT_EQ(ctl("verify" + where).code, 0);
}

TEST_F(CtlTest, InstallRefusesACacheThatOthersCanWrite) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  ASSERT_EQ(::chmod(path("cache").c_str(), 0777), 0);
  const auto output = install(kProgram, "checkout");
  EXPECT_EQ(output.code, 1);
  EXPECT_NE(output.text.find("unsafe_owner"), std::string::npos) << output.text;
}

TEST_F(CtlTest, InstallRefusesACacheThatOthersCanReplace) {
  std::filesystem::create_directory(path("above"));
  ASSERT_EQ(::chmod(path("above").c_str(), 0777), 0);
  std::filesystem::create_directory_symlink(path("above"), path("cache"));
  const auto through = install(kProgram, "checkout");
  EXPECT_NE(through.text.find("unsafe_path"), std::string::npos) << through.text;
  EXPECT_TRUE(std::filesystem::is_empty(path("above")));
}

TEST_F(CtlTest, ExecWorksInAnEmptyContainer) {
  if (!STATIC_TOOLS) GTEST_SKIP() << "sanitizers need a dynamic program";
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  std::filesystem::create_directory(path("root"));
  for (const auto* name : {"cache", "keys"})
    std::filesystem::rename(path(name), path(std::string("root/") + name));
  std::filesystem::copy_file(FALLBACKCTL, path("root/ctl"));
  const auto output =
      shell("chroot " + path("root") + " /ctl exec --cache /cache --keys /keys checkout@1.8.3 -- 42");
  EXPECT_EQ(output.code, 42) << output.text;
}

TEST_F(CtlTest, ExecMayWaitLongerThanPollCan) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  const auto output = ctl("exec --health-timeout 4294967296ms" + where + "checkout@1.8.3 -- 42");
  EXPECT_EQ(output.code, 42) << output.text;
}

TEST_F(CtlTest, ExecRunsNothingRefusedOrUnhealthy) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  test::writeBytes(path("cache/checkout-v1.8.3"), "#!/bin/sh\ntouch " + path("ran") + "\n");
  const auto refused = ctl("exec" + where + "checkout@1.8.3");
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.text.find("not_elf"), std::string::npos) << refused.text;
  EXPECT_FALSE(std::filesystem::exists(path("ran")));

  ASSERT_EQ(install(PROGRAMS "/elf-ill", "ill").code, 0);
  const auto ill = ctl("exec" + where + "ill@1.8.3 -- 0");
  EXPECT_EQ(ill.code, 1);
  EXPECT_NE(ill.text.find("health_check: unhealthy"), std::string::npos) << ill.text;

  ASSERT_EQ(install(PROGRAMS "/elf-hanging", "hanging").code, 0);
  const auto hanging = ctl("exec --health-timeout 50ms" + where + "hanging@1.8.3 -- 0");
  EXPECT_EQ(hanging.code, 1);
  EXPECT_NE(hanging.text.find("health_check: timeout"), std::string::npos) << hanging.text;
}

struct PackTest : CtlTest {
  void SetUp() override {
    CtlTest::SetUp();
    if (IsSkipped()) return;
    std::filesystem::create_directory(path("pack"));
  }
  /// Adds a binary and its attestation to the pack.
  void add(const std::string& name, const std::string& version, const std::string& program = kProgram) {
    const auto file = path("pack/" + name + "-v" + version);
    std::filesystem::copy_file(program, file);
    const auto output = ctl("sign --skip-form-check --key " + path("k.key") + " --name " + name +
                            " --version " + version + " --expires 30d " + file);
    ASSERT_EQ(output.code, 0) << output.text;
  }
  Output installPack(const std::string& more = "") {
    return ctl("install" + where + "--from " + path("pack") + " " + more);
  }
  /// Replaces the pack's content with this binary.
  void onlyPack(const std::string& name, const std::string& version) {
    std::filesystem::remove_all(path("pack"));
    std::filesystem::create_directory(path("pack"));
    add(name, version);
  }
  void configure(const std::string& rest) {
    folder.write("fallbackd.yaml",
                 "apiVersion: fallbackd.io/v1\nlauncher: {runDir: " + path("run") + "}\n" + rest);
  }
  static std::string workloadOf(const std::string& binary) {
    return "workloads:\n- name: cart\n  match: {container: cart}\n"
           "  image: registry.example.com/cart:1.0.0\n  binary: " +
           binary + "\n";
  }
  [[nodiscard]] bool has(const std::string& name) const {
    return std::filesystem::exists(path("cache/" + name));
  }
};

TEST_F(PackTest, IsInstalledCompletelyAndOnce) {
  add("cart", "2.0.0");
  add("checkout", "1.8.3");
  const auto first = installPack();
  ASSERT_EQ(first.code, 0) << first.text;
  EXPECT_NE(first.text.find("cart      2.0.0    installed"), std::string::npos) << first.text;
  EXPECT_EQ(ctl("verify" + where).code, 0);
  const auto again = installPack("-o json");
  ASSERT_EQ(again.code, 0) << again.text;
  EXPECT_NE(again.text.find(R"("name":"cart","version":"2.0.0","change":"unchanged")"), std::string::npos)
      << again.text;
  std::filesystem::remove(path("pack/cart-v2.0.0"));
  std::filesystem::remove(path("pack/cart-v2.0.0.sigstore.json"));
  add("cart", "2.0.0", PROGRAMS "/elf-static");
  const auto changed = installPack();
  EXPECT_NE(changed.text.find("cart      2.0.0    replaced"), std::string::npos) << changed.text;
  EXPECT_NE(changed.text.find("checkout  1.8.3    unchanged"), std::string::npos) << changed.text;
  EXPECT_EQ(ctl("verify" + where).code, 0);
}

TEST_F(PackTest, OneBadBinaryRefusesThePackAndAllErrorsAreReported) {
  add("cart", "2.0.0");
  add("dynamic", "1.0.0", PROGRAMS "/elf-dynamic");
  add("stack", "1.0.0", PROGRAMS "/elf-execstack");
  const auto output = installPack();
  EXPECT_EQ(output.code, 1);
  EXPECT_NE(output.text.find("cache/dynamic-v1.0.0: needs a program loader"), std::string::npos)
      << output.text;
  EXPECT_NE(output.text.find("elf_executable_stack"), std::string::npos) << output.text;
  EXPECT_TRUE(std::filesystem::is_empty(path("cache")));
}

TEST_F(PackTest, AFolderInTheWayRefusesThePackBeforeAnythingAppears) {
  add("cart", "2.0.0");
  add("checkout", "1.8.3");
  for (const auto* place : {"cache/checkout-v1.8.3", "cache/checkout-v1.8.3.sigstore.json"}) {
    std::filesystem::create_directories(path(place));
    const auto refused = installPack();
    EXPECT_EQ(refused.code, 1);
    EXPECT_NE(refused.text.find(path(place) + " is a folder"), std::string::npos) << refused.text;
    EXPECT_FALSE(has("cart-v2.0.0")) << "half of the pack was installed";
    EXPECT_FALSE(has("cart-v2.0.0.sigstore.json"));
    std::filesystem::remove(path(place));
  }
  const auto installed = installPack();
  EXPECT_EQ(installed.code, 0) << installed.text;
  EXPECT_EQ(ctl("verify" + where).code, 0);
}

TEST_F(PackTest, StrayFilesAreReported) {
  add("cart", "2.0.0");
  add("orphan", "1.0.0");
  std::filesystem::remove(path("pack/orphan-v1.0.0"));
  test::writeBytes(path("pack/README"), "hello");
  test::writeBytes(path("pack/bare-v1"), "x");
  const auto output = installPack();
  EXPECT_EQ(output.code, 1);
  for (const auto* text : {"pack/README: is neither", "pack/orphan-v1.0.0.sigstore.json: attests a binary",
                           "pack/bare-v1: has no attestation"}) {
    EXPECT_NE(output.text.find(text), std::string::npos) << text << "\n" << output.text;
  }
  EXPECT_FALSE(has("cart-v2.0.0"));
}

TEST_F(PackTest, PruningKeepsConfiguredAndRunningVersions) {
  for (const auto* version : {"1.0.0", "1.1.0", "1.2.0", "1.9.0"}) add("cart", version);
  ASSERT_EQ(installPack().code, 0);
  onlyPack("cart", "1.10.0");
  std::filesystem::create_directories(path("run/journal"));
  test::writeBytes(path("run/journal/a.json"), R"({"version":1,"binary":"cart@1.1.0"})", 0600);
  configure(workloadOf("cart@1.0.0"));
  EXPECT_EQ(installPack("--keep 2").code, 2)
      << "without a configuration it cannot know which versions must stay";
  const auto output = installPack("--keep 2 --config " + path("fallbackd.yaml"));
  ASSERT_EQ(output.code, 0) << output.text;
  EXPECT_NE(output.text.find("cart  1.2.0    removed"), std::string::npos) << output.text;
  EXPECT_TRUE(has("cart-v1.10.0") && has("cart-v1.9.0")) << "the two highest";
  EXPECT_TRUE(has("cart-v1.0.0")) << "a workload names it";
  EXPECT_TRUE(has("cart-v1.1.0")) << "it runs";
  EXPECT_FALSE(has("cart-v1.2.0") || has("cart-v1.2.0.sigstore.json"));
  test::writeBytes(path("run/journal/b.json"), "torn", 0600);
  EXPECT_EQ(installPack("--keep 1 --config " + path("fallbackd.yaml")).code, 1)
      << "it cannot know which versions run";
  EXPECT_TRUE(has("cart-v1.9.0"));
}

TEST_F(PackTest, PruningKeepsWhatWasJustInstalled) {
  for (const auto* version : {"1.9.0", "1.9.1", "1.9.2"}) add("cart", version);
  ASSERT_EQ(installPack().code, 0);
  onlyPack("cart", "1.8.3");
  configure("workloads: []\n");
  const auto output = installPack("--keep 1 --config " + path("fallbackd.yaml"));
  ASSERT_EQ(output.code, 0) << output.text;
  EXPECT_TRUE(has("cart-v1.8.3") && has("cart-v1.8.3.sigstore.json")) << output.text;
  EXPECT_TRUE(has("cart-v1.9.2"));
  EXPECT_FALSE(has("cart-v1.9.1") || has("cart-v1.9.0"));
  const auto again = installPack("--keep 1 --config " + path("fallbackd.yaml"));
  EXPECT_EQ(again.code, 0) << again.text;
  EXPECT_TRUE(has("cart-v1.8.3")) << "an unchanged binary counts, too";
}

TEST_F(PackTest, PruningKeepsWhatARollbackGoesBackTo) {
  for (const auto* version : {"1.8.1", "1.8.2", "1.9.0"}) add("cart", version);
  ASSERT_EQ(installPack().code, 0);
  onlyPack("cart", "1.9.1");
  configure("cache: {rollbacks: [{binary: cart@1.9.0, rollbackTo: 1.8.2}]}\nworkloads: []\n");
  const auto output = installPack("--keep 1 --config " + path("fallbackd.yaml"));
  ASSERT_EQ(output.code, 0) << output.text;
  EXPECT_TRUE(has("cart-v1.8.2")) << output.text;
  EXPECT_FALSE(has("cart-v1.8.1") || has("cart-v1.9.0"));
}

TEST_F(PackTest, PruningKeepsWhatWorkloadsOfDropInsReferTo) {
  for (const auto* version : {"1.0.0", "1.1.0"}) add("cart", version);
  ASSERT_EQ(installPack().code, 0);
  onlyPack("cart", "1.2.0");
  // As in the DaemonSet, the drop-ins are not beside the configuration.
  configure("workloads: []\n");
  std::filesystem::create_directories(path("elsewhere"));
  folder.write("elsewhere/shop.yaml", "apiVersion: fallbackd.io/v1\n" + workloadOf("cart@1.0.0"));
  const auto output =
      installPack("--keep 1 --config " + path("fallbackd.yaml") + " --drop-ins " + path("elsewhere"));
  ASSERT_EQ(output.code, 0) << output.text;
  EXPECT_TRUE(has("cart-v1.0.0")) << output.text;
  EXPECT_FALSE(has("cart-v1.1.0"));
  EXPECT_EQ(installPack("--drop-ins " + path("elsewhere")).code, 2) << "drop-ins need a configuration";
}

TEST_F(CtlTest, AWorkloadOfADropInMayBeBelowTheFloor) {
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  std::filesystem::create_directory(path("state"));
  test::writeBytes(path("state/version-floor.json"), R"({"versions":{"checkout":"1.9.0"}})", 0644);
  folder.write("fallbackd.yaml", "apiVersion: fallbackd.io/v1\nworkloads: []\n");
  std::filesystem::create_directories(path("elsewhere"));
  folder.write("elsewhere/shop.yaml",
               "apiVersion: fallbackd.io/v1\nworkloads:\n- name: checkout\n"
               "  match: {container: checkout}\n  image: registry.example.com/checkout:1.8.3\n"
               "  binary: checkout@1.8.3\n");
  const auto configured = " --config " + path("fallbackd.yaml") + where;
  EXPECT_EQ(ctl("verify" + configured).code, 1);
  const auto output = ctl("verify --drop-ins " + path("elsewhere") + configured);
  EXPECT_EQ(output.code, 0) << output.text;
}

TEST_F(PackTest, PruningPassesOverARecoveryThatEndsMeanwhile) {
  for (const auto* version : {"1.0.0", "1.1.0"}) add("cart", version);
  std::filesystem::create_directories(path("run/journal"));
  // The listing contains it, but it cannot be opened.
  std::filesystem::create_symlink(path("run/nothing"), path("run/journal/a.json"));
  ASSERT_EQ(installPack().code, 0);
  onlyPack("cart", "1.2.0");
  configure("workloads: []\n");
  const auto output = installPack("--keep 1 --config " + path("fallbackd.yaml"));
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_FALSE(has("cart-v1.0.0") || has("cart-v1.1.0")) << output.text;
}

TEST_F(PackTest, AFileThatIsTooLargeIsRefusedBeforeItIsCopied) {
  add("cart", "2.0.0");
  ASSERT_EQ(::truncate(path("pack/cart-v2.0.0").c_str(), (2LL << 30) + 1), 0);
  const auto output =
      shell("ulimit -f 8192; " + std::string(FALLBACKCTL) + " install" + where + "--from " + path("pack"));
  EXPECT_EQ(output.code, 1) << "a signal ended it while it copied the file";
  EXPECT_NE(output.text.find("cart-v2.0.0 has more than 2 GiB"), std::string::npos) << output.text;
  EXPECT_TRUE(std::filesystem::is_empty(path("cache")));
}

TEST_F(PackTest, AnOtherwiseEmptyInitContainerInstallsIt) {
  if (!STATIC_TOOLS) GTEST_SKIP() << "sanitizers need a dynamic program";
  add("cart", "2.0.0");
  for (const auto* name : {"root", "root/cache"}) std::filesystem::create_directory(path(name));
  for (const auto* name : {"pack", "keys"})
    std::filesystem::rename(path(name), path(std::string("root/") + name));
  std::filesystem::copy_file(FALLBACKCTL, path("root/ctl"));
  const auto output =
      shell("chroot " + path("root") + " /ctl install --cache /cache --keys /keys --from /pack");
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_TRUE(std::filesystem::exists(path("root/cache/cart-v2.0.0")));
}

TEST_F(CtlTest, KeygenLeavesNoHalfOfAPair) {
  test::writeBytes(path("half.pub"), "another key's");
  const auto refused = ctl("keygen --out " + path("half"));
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.text.find("half.pub exists already"), std::string::npos) << refused.text;
  EXPECT_FALSE(std::filesystem::exists(path("half.key")));
  EXPECT_EQ(test::readBytes(path("half.pub")), "another key's");
  std::filesystem::remove(path("half.pub"));
  EXPECT_EQ(ctl("keygen --out " + path("half")).code, 0);
  EXPECT_EQ(ctl("keygen --out " + path("half")).code, 1);
  EXPECT_TRUE(std::filesystem::exists(path("half.key"))) << "the earlier pair stays";
}

TEST_F(CtlTest, UsageErrorsExitWithTwo) {
  EXPECT_EQ(ctl("").code, 2);
  EXPECT_EQ(ctl("nonsense").code, 2);
  EXPECT_EQ(ctl("exec" + where + "checkout").code, 2);
  EXPECT_EQ(ctl("sign --key k --name a --version 1 --expires never x").code, 2);
  EXPECT_EQ(ctl("check-config --config " + path("none.yaml")).code, 2);
  ASSERT_EQ(install(kProgram, "checkout").code, 0);
  for (const std::string command : {"verify", "exec", "list"}) {
    const auto none = ctl(command + where + "--threshold 0 checkout@1.8.3");
    EXPECT_EQ(none.code, 2) << command << ": " << none.text;
    EXPECT_NE(none.text.find("--threshold"), std::string::npos) << none.text;
  }
  EXPECT_EQ(ctl("keygen --out " + path("k")).code, 1) << "keys are never overwritten";
}

}  // namespace
}  // namespace fallbackd
