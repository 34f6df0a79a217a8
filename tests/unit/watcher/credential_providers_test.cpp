// SPDX-License-Identifier: Apache-2.0
#include "watcher/credential_providers.hpp"

#include "fake_runtime.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using test::Gate;
using test::runUntil;

constexpr const char* kFile = R"(
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- {name: first, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ["*.x"], defaultCacheDuration: 1h,
   args: [get], env: [{name: REGION, value: north}]}
- {name: second, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: [both.x], defaultCacheDuration: 1h}
- {name: token, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: [token.y], defaultCacheDuration: 1h,
   tokenAttributes: {serviceAccountTokenAudience: a}}
)";

std::string answer(const std::string& keyType, const std::string& password,
                   const std::string& duration = "1h") {
  auto root = boost::json::object{{"kind", "CredentialProviderResponse"},
                                  {"apiVersion", "credentialprovider.kubelet.k8s.io/v1"},
                                  {"cacheKeyType", keyType},
                                  {"cacheDuration", duration}};
  if (!password.empty()) root["auth"] = {{"*.x", {{"username", "u"}, {"password", password}}}};
  return boost::json::serialize(root);
}

struct CredentialProvidersTest : testing::Test {
  CredentialProvidersTest() {
    providers.readFilesWith([this](std::string path) -> cri::Awaitable<Result<std::string>> {
      paths.push_back(std::move(path));
      co_return file;
    });
    providers.runProgramsWith([this](ProviderProgram program) -> cri::Awaitable<Result<std::string>> {
      runs.push_back(program);
      if (gate != nullptr) co_await gate->passed();
      if (const auto own = gateOf.find(program.name); own != gateOf.end()) co_await own->second->passed();
      co_return outcomes[program.name];
    });
    providers.waitAtMost(20s);
    outcomes["first"] = answer("Image", "one");
    outcomes["second"] = answer("Image", "two");
  }
  void ask(const std::string& reference) {
    boost::asio::co_spawn(loop, providers.find(where, *ImageReference::parse(reference)),
                          [this](std::exception_ptr error, FoundCredentials one) {
                            if (error) std::rethrow_exception(error);
                            found.push_back(std::move(one));
                          });
  }
  /// Requests credentials and waits for them.
  FoundCredentials get(const std::string& reference) {
    const auto before = found.size();
    ask(reference);
    EXPECT_TRUE(runUntil(loop, [&] { return found.size() > before; }));
    return found.back();
  }
  std::string passwordOf(const std::string& reference) {
    const auto one = get(reference);
    return one.credentials ? one.credentials->password : "none (" + one.trouble + ")";
  }

  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  Result<std::string> file = std::string(kFile);
  std::vector<std::string> paths;
  std::vector<ProviderProgram> runs;
  std::map<std::string, Result<std::string>> outcomes;
  Gate* gate = nullptr;
  std::map<std::string, Gate*> gateOf;  // by program
  config::CredentialProviders where{"/etc/providers.yaml", "/opt/providers"};
  CredentialProviders providers{loop.get_executor()};
  std::vector<FoundCredentials> found;
};

TEST_F(CredentialProvidersTest, AProgramIsRunAsTheFileSays) {
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
  EXPECT_EQ(paths, std::vector<std::string>{"/etc/providers.yaml"});
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].folder, "/opt/providers");
  EXPECT_EQ(runs[0].config, "/etc/providers.yaml");
  EXPECT_EQ(runs[0].name, "first");
  EXPECT_EQ(runs[0].args, std::vector<std::string>{"get"});
  ASSERT_EQ(runs[0].env.size(), 2U);
  EXPECT_TRUE(runs[0].env[0].starts_with("PATH="));
  EXPECT_EQ(runs[0].env[1], "REGION=north");
  EXPECT_NE(runs[0].input.find(R"("image":"r.x/a")"), std::string::npos);
  EXPECT_EQ(providers.counts().given, 1U);
}

TEST_F(CredentialProvidersTest, OnlyProgramsThatServeTheImageAreRun) {
  const auto one = get("elsewhere.y/a:1");
  EXPECT_FALSE(one.credentials);
  EXPECT_EQ(one.trouble, "");
  EXPECT_TRUE(runs.empty());
}

TEST_F(CredentialProvidersTest, TheFirstOfTheFileThatHasCredentialsCounts) {
  EXPECT_EQ(passwordOf("both.x/a:1"), "one");
  EXPECT_EQ(runs.size(), 2U) << "both programs run at the same time";
  outcomes["first"] = answer("Image", "");
  EXPECT_EQ(passwordOf("both.x/b:1"), "two");
  outcomes["first"] = fail(Stage::detection, Reason::exited, "first exited with 1");
  const auto third = get("both.x/c:1");
  EXPECT_EQ(third.credentials->password, "two");
  EXPECT_NE(third.trouble.find("first exited with 1"), std::string::npos)
      << "the failure is reported nevertheless";
}

TEST_F(CredentialProvidersTest, AnAnswerIsKeptForWhatItServes) {
  outcomes["first"] = answer("Registry", "one");
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
  EXPECT_EQ(passwordOf("r.x/b:1"), "one");
  EXPECT_EQ(runs.size(), 1U);
  EXPECT_EQ(passwordOf("other.x/b:1"), "one");
  EXPECT_EQ(runs.size(), 2U);
  outcomes["first"] = answer("Global", "all");
  EXPECT_EQ(passwordOf("third.x/b:1"), "all");
  EXPECT_EQ(passwordOf("fourth.x/b:1"), "all");
  EXPECT_EQ(runs.size(), 3U);
}

TEST_F(CredentialProvidersTest, AnAnswerThatHoldsForNoTimeIsAskedForAgain) {
  outcomes["first"] = answer("Image", "one", "0s");
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
  EXPECT_EQ(runs.size(), 2U);
}

TEST_F(CredentialProvidersTest, EqualRequestsShareOneRun) {
  Gate opens(loop);
  gate = &opens;
  outcomes["first"] = answer("Image", "one", "0s");
  for (int i = 0; i < 50; ++i) ask("r.x/a:" + std::to_string(i));
  ASSERT_TRUE(runUntil(loop, [&] { return runs.size() == 1; }));
  opens.open();
  ASSERT_TRUE(runUntil(loop, [&] { return found.size() == 50; }));
  EXPECT_EQ(runs.size(), 1U);
  EXPECT_TRUE(std::all_of(found.begin(), found.end(), [](const auto& one) { return one.credentials; }));
}

TEST_F(CredentialProvidersTest, OneRunOfARegistryServesAllItsImagesOnceThatIsKnown) {
  outcomes["first"] = answer("Registry", "one", "0s");
  EXPECT_EQ(passwordOf("other.x/a:1"), "one");
  Gate opens(loop);
  gate = &opens;
  for (int i = 0; i < 50; ++i) ask("r.x/a" + std::to_string(i) + ":1");
  ASSERT_TRUE(runUntil(loop, [&] { return runs.size() == 2; }));
  opens.open();
  ASSERT_TRUE(runUntil(loop, [&] { return found.size() == 51; }));
  EXPECT_EQ(runs.size(), 2U);
}

TEST_F(CredentialProvidersTest, AnAnswerForOneImageIsNotTakenForAnother) {
  outcomes["first"] = answer("Registry", "one", "0s");
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
  Gate opens(loop);
  gate = &opens;
  // The answer's scope changes: the two callers that share a run need one run each.
  outcomes["first"] = answer("Image", "own", "0s");
  ask("r.x/a:1");
  ask("r.x/b:1");
  ASSERT_TRUE(runUntil(loop, [&] { return runs.size() == 2; }));
  opens.open();
  ASSERT_TRUE(runUntil(loop, [&] { return found.size() == 3; }));
  EXPECT_EQ(runs.size(), 3U);
  EXPECT_NE(runs[2].input.find("r.x/b"), std::string::npos);
  EXPECT_EQ(found[2].credentials->password, "own");
}

TEST_F(CredentialProvidersTest, OnlyOneCallerWaitsForAProgramThatHangsAndNotForLong) {
  Gate opens(loop);
  gate = &opens;
  providers.waitAtMost(50ms);
  const auto first = get("r.x/a:1");
  EXPECT_FALSE(first.credentials);
  EXPECT_EQ(first.trouble,
            "credential provider \"first\": no answer within 50ms; the image is pulled without its "
            "credentials");
  // Later callers do not wait, and no second program is started.
  providers.waitAtMost(1h);
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(get("r.x/b" + std::to_string(i) + ":1").credentials);
  EXPECT_EQ(runs.size(), 1U);
  EXPECT_EQ(providers.counts().notWaitedFor, 21U);
  // Its late answer is kept.
  opens.open();
  ASSERT_TRUE(runUntil(loop, [&] { return providers.counts().given == 1; }));
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
  EXPECT_EQ(runs.size(), 1U);
  // After an answer in time, callers wait for it again.
  EXPECT_EQ(passwordOf("r.x/c:1"), "one");
}

/// The program is run later for the images that were requested while it was late.
TEST_F(CredentialProvidersTest, OneThatWasLateIsAskedAgainOnceItHasAnswered) {
  outcomes["first"] = answer("Image", "", "0s");
  Gate slow(loop);
  gateOf["second"] = &slow;
  providers.waitAtMost(50ms);
  EXPECT_FALSE(get("both.x/a:1").credentials);
  providers.waitAtMost(1h);
  Gate opens(loop);
  gateOf["first"] = &opens;
  ask("both.x/b:1");
  ASSERT_TRUE(runUntil(loop, [&] { return runs.size() == 3; }));
  slow.open();
  ASSERT_TRUE(runUntil(loop, [&] { return providers.counts().given == 1; }));
  opens.open();
  ASSERT_TRUE(runUntil(loop, [&] { return found.size() == 2; }))
      << "a caller waits for a run that never began";
  ASSERT_TRUE(found[1].credentials) << found[1].trouble;
  EXPECT_EQ(found[1].credentials->password, "two");
}

TEST_F(CredentialProvidersTest, ACallerMayGoAway) {
  Gate opens(loop);
  gate = &opens;
  TaskGroup pods(loop.get_executor());
  const auto asks = [](CredentialProviders& of, config::CredentialProviders files) -> cri::Awaitable<void> {
    const auto one = co_await of.find(std::move(files), *ImageReference::parse("r.x/a:1"));
    static_cast<void>(one);
  };
  pods.spawn(asks(providers, where));
  ASSERT_TRUE(runUntil(loop, [&] { return runs.size() == 1; }));
  pods.cancelAll();
  ASSERT_TRUE(runUntil(loop, [&] { return pods.empty(); }));
  opens.open();
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
  EXPECT_EQ(runs.size(), 1U);
}

TEST_F(CredentialProvidersTest, EveryWayToFailIsReportedAndCounted) {
  outcomes["first"] = fail(Stage::detection, Reason::exited, "first exited with 1: \"no metadata\"");
  EXPECT_EQ(get("r.x/a:1").trouble, "credential provider \"first\": first exited with 1: \"no metadata\"");
  outcomes["first"] = fail(Stage::detection, Reason::timeout, "killed");
  EXPECT_EQ(get("r.x/a:1").trouble, "credential provider \"first\": killed");
  outcomes["first"] = fail(Stage::detection, Reason::too_large, "too much");
  EXPECT_EQ(get("r.x/a:1").trouble, "credential provider \"first\": too much");
  outcomes["first"] = std::string("{}");
  EXPECT_NE(get("r.x/a:1").trouble.find("its answer is not a CredentialProviderResponse"), std::string::npos);
  outcomes["first"] = answer("Image", "", "0s");
  EXPECT_EQ(get("r.x/a:1").trouble, "") << "having no credentials is not a failure";
  const auto& counts = providers.counts();
  EXPECT_EQ(counts.failed, 1U);
  EXPECT_EQ(counts.timedOut, 1U);
  EXPECT_EQ(counts.tooLarge, 1U);
  EXPECT_EQ(counts.malformed, 1U);
  EXPECT_EQ(counts.none, 1U);
}

TEST_F(CredentialProvidersTest, TokensOfServiceAccountsAreRefusedWithAReason) {
  const auto one = get("token.y/a:1");
  EXPECT_FALSE(one.credentials);
  EXPECT_NE(one.trouble.find("\"token\" needs a token of the pod's service account (tokenAttributes)"),
            std::string::npos);
  EXPECT_TRUE(runs.empty());
}

TEST_F(CredentialProvidersTest, AFileThatCannotBeReadOrIsWrongIsReported) {
  file = fail(Stage::detection, Reason::not_found, "/etc/providers.yaml");
  EXPECT_NE(get("r.x/a:1").trouble.find("kubelet's credential providers cannot be read"), std::string::npos);
  file = std::string("apiVersion: v2\n");
  const auto trouble = get("r.x/a:1").trouble;
  EXPECT_NE(trouble.find("/etc/providers.yaml:1:1"), std::string::npos) << trouble;
  EXPECT_NE(trouble.find(", and 2 more"), std::string::npos) << trouble;
  EXPECT_TRUE(runs.empty());
  file = std::string(kFile);
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
}

TEST_F(CredentialProvidersTest, AChangedFileCountsAtOnceAndForgetsWhatTheOldOneGave) {
  EXPECT_EQ(passwordOf("r.x/a:1"), "one");
  auto text = std::string(kFile);
  text.replace(text.find("[get]"), 5, "[other]");
  file = text;
  outcomes["first"] = answer("Image", "new");
  EXPECT_EQ(passwordOf("r.x/a:1"), "new");
  EXPECT_EQ(runs.at(1).args, std::vector<std::string>{"other"});
}

}  // namespace
}  // namespace fallbackd::watcher
