// SPDX-License-Identifier: Apache-2.0
// kubelet's image credential providers, on a real registry that requires a password. The provider is a short
// shell script; each test gives it a different behaviour.
#include "content_of.hpp"
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using test::contentOf;
namespace json = boost::json;
using namespace std::chrono_literals;
using testing::HasSubstr;

const std::string kRuns = "fallbackd_credential_provider_runs_total";

class CredentialProviders : public testing::Test {
 protected:
  void open(const std::string& behaviour) {
    E2E_TRY(shop_, Shop::open());
    auto closed = Registry::make({.port = 0, .user = "robot", .password = "beep"});
    ASSERT_TRUE(closed);
    closed_.emplace(std::move(*closed));
    E2E_CHECK(closed_->start());
    E2E_TRY(image_, closed_->pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
    folder_ = makeRunDir("providers");
    program(behaviour);
    std::ofstream(folder_ / "config.yaml") << "apiVersion: kubelet.config.k8s.io/v1\n"
                                              "kind: CredentialProviderConfig\n"
                                              "providers:\n"
                                              "- name: provider\n"
                                              "  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
                                              "  matchImages: [\"127.*.0.1:"
                                           << closed_->port()
                                           << "\"]\n"
                                              "  defaultCacheDuration: 1h\n"
                                              "  args: [get-credentials]\n"
                                              "  env: [{name: FOLDER, value: "
                                           << folder_.string() << "}]\n";
    configure(shop_->daemonOptions(image_));
  }
  void configure(DaemonOptions options) const {
    options.extra += "podAnnotations: {namespaces: [evil]}\ncredentialProviders: {config: " +
                     (folder_ / "config.yaml").string() + ", binDir: " + (folder_ / "bin").string() + "}\n";
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
    shop_->daemon->kill();  // it was started together with the node
    E2E_CHECK(shop_->daemon->restart());
  }
  /// Replaces the program. It records each request and its pid.
  void program(const std::string& behaviour) const {
    std::filesystem::create_directories(folder_ / "bin");
    const auto made = folder_ / "provider.new";
    std::ofstream(made) << "#!/bin/sh\n"
                           "cat >>$FOLDER/requests\n"
                           "echo \"args: $*\" >>$FOLDER/calls\n"
                           "env >$FOLDER/env\n"
                           "echo $$ >$FOLDER/pid.new && mv $FOLDER/pid.new $FOLDER/pid\n"
                        << behaviour;
    ASSERT_EQ(::chmod(made.c_str(), 0755), 0);
    std::filesystem::rename(made, folder_ / "bin" / "provider");
  }
  [[nodiscard]] std::string answer(const std::string& password) const {
    return R"(printf '%s' '{"kind":"CredentialProviderResponse",)"
           R"("apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry",)"
           R"("cacheDuration":"1h0m0s","auth":{")" +
           closed_->address() + R"(":{"username":"robot","password":")" + password + "\"}}}'\n";
  }
  /// The pod's entry in the list "waiting" of the status; empty if it has none.
  [[nodiscard]] json::object waitingOf(const std::string& pod) const {
    const auto response = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status", 20s);
    if (!response || response->status != 200) return {};
    const auto root = json::parse(response->body);
    for (const auto& item : root.at("waiting").as_array()) {
      if (item.at("pod").as_string() == pod) return item.as_object();
    }
    return {};
  }
  [[nodiscard]] bool waitsAs(const std::string& pod, std::string_view state) const {
    const auto entry = waitingOf(pod);
    return entry.contains("state") && entry.at("state").as_string() == state;
  }
  [[nodiscard]] std::string explain(const std::string& pod) const {
    const auto output = run(
        {.argv = {binary("fallbackctl"), "explain", pod, "--socket", shop_->daemon->controlSocket().string()},
         .env = {},
         .output = {}});
    return output ? output->text : output.error().message();
  }
  [[nodiscard]] double runsThat(const std::string& result) const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, kRuns, "result=\"" + result + "\"") : -1;
  }
  /// The pod of the operator's workload waits without credentials, and status, log and explain say why.
  void expectDegrades(const std::string& result, const std::string& words) {
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return waitsAs("web-0", "undecided"); }))
        << shop_->daemon->logText();
    EXPECT_THAT(shop_->daemon->logText(), HasSubstr(words));
    EXPECT_THAT(explain("web-0"), HasSubstr(words));
    EXPECT_THAT(std::string(waitingOf("web-0").at("trouble").as_string()), HasSubstr("credential provider"));
    if (!result.empty()) {
      EXPECT_GE(runsThat(result), 1);
    }
    EXPECT_EQ(runsThat("given"), 0);
    EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "") << "a 401 without credentials decides nothing";
    E2E_TRY(const auto present, shop_->kubelet->imagePresent(image_));
    EXPECT_FALSE(present);
    // The operator repairs the program: the next probe has the credentials.
    program(answer("beep"));
  }
  void expectPulled() const {
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return waitsAs("web-0", "image present"); }))
        << shop_->daemon->logText();
    EXPECT_EQ(runsThat("given"), 1);
  }

  std::unique_ptr<Shop> shop_;
  std::optional<Registry> closed_;
  std::string image_;
  std::filesystem::path folder_;
};

TEST_F(CredentialProviders, APrivateImageIsPulledWithTheProvidersCredentials) {
  // The provider is set up before the registry's port is known, which its answer must name.
  ASSERT_NO_FATAL_FAILURE(open("exit 1\n"));
  program(answer("beep"));
  E2E_TRY(const auto second, closed_->pushImage("shop/cart:2", testProgram("shop-httpd-1.8.3")));
  auto options = shop_->daemonOptions(image_);
  options.workloads +=
      "- name: cart\n  match: {namespace: shop, labels: {app: cart}, container: cart}\n  image: " + second +
      "\n  binary: checkout@1.8.3\n";
  ASSERT_NO_FATAL_FAILURE(configure(options));
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_NO_FATAL_FAILURE(expectPulled());
  EXPECT_EQ(contentOf(folder_ / "requests"),
            R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1",)"
            R"("image":")" +
                closed_->address() + R"(/shop/checkout"})");
  EXPECT_EQ(contentOf(folder_ / "calls"), "args: get-credentials\n");
  const auto env = contentOf(folder_ / "env");
  EXPECT_THAT(env, HasSubstr("PATH="));
  EXPECT_THAT(env, HasSubstr("FOLDER="));
  EXPECT_EQ(env.find("FALLBACKD"), std::string::npos) << env;
  // The answer is valid for the whole registry, so the provider does not run again.
  auto cart = checkoutPod("cart-0");
  cart.labels = {{"app", "cart"}};
  E2E_TRY(const auto other, shop_->kubelet->startPod(cart));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return waitsAs("cart-0", "image present"); }))
      << shop_->daemon->logText();
  EXPECT_EQ(runsThat("given"), 1);
  EXPECT_EQ(shop_->daemon->logText().find("beep"), std::string::npos) << "a password is in the log";
}

TEST_F(CredentialProviders, AnImageThatOnlyAnAnnotationNamesGetsNothing) {
  ASSERT_NO_FATAL_FAILURE(open("exit 1\n"));
  program(answer("beep"));
  E2E_TRY(const auto secret, closed_->pushImage("board/plans:1", testProgram("shop-httpd-1.8.3")));
  for (const auto& [name, image] : {std::pair("hostile-0", secret), std::pair("hostile-1", image_)}) {
    auto hostile = checkoutPod(name);
    hostile.namespaceName = "evil";
    hostile.labels = {{"app", "own"}};
    hostile.annotations = {{"fallbackd.io/binary.web", "checkout@1.8.3"}, {"fallbackd.io/image.web", image}};
    E2E_TRY(const auto pod, shop_->kubelet->startPod(hostile));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return waitsAs(name, "undecided"); })) << shop_->daemon->logText();
    E2E_TRY(const auto present, shop_->kubelet->imagePresent(image));
    EXPECT_FALSE(present) << image << " was pulled for " << name;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "requests")) << contentOf(folder_ / "requests");
  EXPECT_EQ(runsThat("given"), 0);
  // The operator's own pod gets the same image.
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_NO_FATAL_FAILURE(expectPulled());
}

TEST_F(CredentialProviders, AFailureIsReportedWithItsOutput) {
  ASSERT_NO_FATAL_FAILURE(open("echo 'the metadata server is away' >&2; exit 3\n"));
  ASSERT_NO_FATAL_FAILURE(expectDegrades("failed", "the metadata server is away"));
  ASSERT_NO_FATAL_FAILURE(expectPulled());
}

TEST_F(CredentialProviders, AFloodIsCutOff) {
  ASSERT_NO_FATAL_FAILURE(open("exec cat /dev/zero\n"));
  ASSERT_NO_FATAL_FAILURE(expectDegrades("too_large", "provider wrote more than 65536 bytes"));
  ASSERT_NO_FATAL_FAILURE(expectPulled());
}

TEST_F(CredentialProviders, AMalformedAnswerIsReported) {
  ASSERT_NO_FATAL_FAILURE(open("echo '{\"kind\": \"Secret\", \"password\": \"beep\"}'\n"));
  ASSERT_NO_FATAL_FAILURE(expectDegrades("malformed", "its answer is not a CredentialProviderResponse"));
  EXPECT_EQ(shop_->daemon->logText().find("beep"), std::string::npos) << "its answer is in the log";
  ASSERT_NO_FATAL_FAILURE(expectPulled());
}

TEST_F(CredentialProviders, AHangDelaysNothingAndEndsWithTheDaemon) {
  ASSERT_NO_FATAL_FAILURE(open("exec sleep 1000\n"));
  ASSERT_NO_FATAL_FAILURE(expectDegrades("", "no answer within 2s"));
  const auto metrics = shop_->daemon->metrics();
  ASSERT_TRUE(metrics);
  EXPECT_GE(sumOf(*metrics, "fallbackd_credential_provider_late_total"), 1);
  // The registry also goes down: the daemon notices, and the pods get their fallbacks.
  E2E_CHECK(closed_->stop());
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }))
      << shop_->daemon->logText();
  const auto response = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/healthz");
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  const auto pid = std::stoi(contentOf(folder_ / "pid"));
  const auto runs = [&] {
    const auto words = contentOf("/proc/" + std::to_string(pid) + "/cmdline");
    return words.find("sleep") != std::string::npos;
  };
  ASSERT_TRUE(runs());
  E2E_TRY(const auto code, shop_->daemon->stop());
  EXPECT_EQ(code, 0);
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return !runs(); })) << "it outlived the daemon";
}

TEST_F(CredentialProviders, CheckConfigReadsKubeletsFileToo) {
  ASSERT_NO_FATAL_FAILURE(open("exit 1\n"));
  const auto check = [&] {
    const auto output = run(
        {.argv = {binary("fallbackctl"), "check-config", "--config", shop_->daemon->configFile().string()},
         .env = {},
         .output = {}});
    return output ? std::to_string(output->code) + " " + output->text : output.error().message();
  };
  EXPECT_THAT(check(), HasSubstr("0 ok: 1 workloads"));
  const auto file = folder_ / "config.yaml";
  std::ofstream(file, std::ios::app) << "  tokenAttributes: {serviceAccountTokenAudience: a}\n";
  EXPECT_THAT(check(), HasSubstr("note: credential provider provider is not used"));
  std::ofstream(file, std::ios::app) << "  matchimages: []\n";
  EXPECT_THAT(check(), HasSubstr(file.string() + ":11:3: "));
  EXPECT_THAT(check(), HasSubstr("did you mean"));
  std::filesystem::remove(file);
  EXPECT_THAT(check(), HasSubstr("is not on this machine and was not checked"));
}

}  // namespace
}  // namespace fallbackd::e2e
