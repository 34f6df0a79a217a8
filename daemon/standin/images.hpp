// SPDX-License-Identifier: Apache-2.0
// The images of stand-ins in containerd: written when they are needed, removed when no stand-in names them.
// On the daemon's loop.
#pragma once

#include "base/async/event.hpp"
#include "cri/control.hpp"
#include "cri/runtime.hpp"
#include "standin/image.hpp"
#include "standin/order.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <boost/asio/thread_pool.hpp>

namespace fallbackd::standin {

class StandInImages {
 public:
  StandInImages(cri::Runtime& runtime, cri::Control& control) : runtime_(runtime), control_(control) {}

  /// While it lives, no image is removed: one may be about to be used.
  class Use {
   public:
    explicit Use(std::size_t& users) : users_(users) { ++users_; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    Use(Use&&) = delete;
    Use& operator=(Use&&) = delete;
    ~Use() { --users_; }

   private:
    std::size_t& users_;
  };
  [[nodiscard]] Use use() { return Use(users_); }

  /// Returns the id of the image: the digest of its configuration.
  cri::Awaitable<Result<std::string>> ensure(const Request& request);
  /// Whether a container was made from that image.
  cri::Awaitable<Result<>> check(std::string containerId, std::string imageId);
  cri::Awaitable<void> removeUnused();
  /// A stand-in made from it did not start: what the runtime has unpacked may be torn, since the runtime does
  /// not flush it before a power cut. The next ensure() writes it again.
  void suspect(const std::string& name) { suspects_.insert(name); }

 private:
  enum class Image : std::uint8_t { there, gone };
  cri::Awaitable<Result<std::string>> write(std::string name, const Request& request);
  cri::Awaitable<Result<std::optional<cri::Blob>>> executableLayer(const Request& request);
  cri::Awaitable<Result<>> awaitKnown(std::string name, Image wanted);

  cri::Runtime& runtime_;
  cri::Control& control_;
  std::size_t users_ = 0;
  std::map<std::string, std::shared_ptr<Event>> writing_;  // by name; set when it ends
  std::set<std::string> suspects_;                         // by name
  std::map<std::string, std::string> digests_;    // of layers with an executable, by the image's name
  std::optional<boost::asio::thread_pool> pool_;  // hashes them: they are as large as the binaries
};

}  // namespace fallbackd::standin
