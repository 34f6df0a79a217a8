// SPDX-License-Identifier: Apache-2.0
// A node whose containerd queries fallbackd's mirror first, as set up by fallbackctl.
#pragma once

#include "daemon.hpp"
#include "fault_registry.hpp"
#include "kubelet/kubelet.hpp"
#include "run_dir.hpp"
#include "shop.hpp"

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::e2e {

class MirrorNode {
 public:
  static Result<std::unique_ptr<MirrorNode>> open(NodeOptions options, const std::string& mirrorExtra = "") {
    std::unique_ptr<MirrorNode> one(new MirrorNode);
    FB_TRY(auto port, DeadPort::make());
    one->port_ = port.release();
    one->tokenFile_ = makeRunDir("mirror") / "token";
    ShopOptions shop;
    shop.node = std::move(options);
    FB_TRY(one->shop_, Shop::open(shop));
    FB_CHECK(one->restartDaemon(one->shop_->image(), mirrorExtra));
    return one;
  }

  /// Restarts the daemon with the mirror, and with a workload of this image.
  Result<> restartDaemon(const std::string& image, const std::string& mirrorExtra = "") {
    auto options = shop_->daemonOptions(image);
    options.extra += "mirror:\n  listen: " + address() + "\n  tokenFile: " + tokenFile_.string() +
                     "\n  hostsDir: " + shop_->node->registryConfigDir().string() + "\n" + mirrorExtra;
    FB_CHECK(shop_->daemon->rewriteConfig(options));
    FB_CHECK(shop_->daemon->stop());
    return shop_->daemon->restart();
  }

  /// Runs fallbackctl mirror WORDS...; returns its output.
  [[nodiscard]] Result<std::string> ctl(const std::vector<std::string>& words) const {
    std::vector<std::string> argv{binary("fallbackctl"), "mirror"};
    argv.insert(argv.end(), words.begin(), words.end());
    argv.insert(argv.end(), {"--config", shop_->daemon->configFile()});
    return runOk({.argv = std::move(argv), .env = {}, .output = {}});
  }
  /// Sends requests for the registry to the mirror first, then to the registry, by plain HTTP.
  [[nodiscard]] Result<> enable(const std::string& registry) const {
    FB_CHECK(shop_->node->speak("http", registry));
    FB_CHECK(ctl({"enable", "--write", "--registry", registry, "--containerd-config",
                  shop_->node->folder() / "config.toml"}));
    return {};
  }

  /// Gives an image of the node a second name.
  [[nodiscard]] Result<> name(const std::string& image, const std::string& other) const {
    FB_CHECK(shop_->node->ctr({"images", "tag", "--force", image, other}));
    return {};
  }

  [[nodiscard]] Shop& shop() const { return *shop_; }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string token() const {
    std::ifstream file(tokenFile_);
    std::string token;
    file >> token;
    return token;
  }
  [[nodiscard]] boost::json::object status() const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    return answer ? boost::json::parse(answer->body).as_object() : boost::json::object();
  }
  [[nodiscard]] double metric(const std::string& prefix) const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, prefix) : -1;
  }

 private:
  MirrorNode() = default;

  std::unique_ptr<Shop> shop_;
  std::uint16_t port_ = 0;
  std::filesystem::path tokenFile_;
};

inline Image cartImage() {
  return {.reference = "cart",
          .files = {{"bin/cart", testProgram("shop-httpd-1.8.3")}},
          .entrypoint = {"/bin/cart"},
          .env = {}};
}

}  // namespace fallbackd::e2e
