// SPDX-License-Identifier: Apache-2.0
// The mirror of last resort: a read-only registry on loopback that containerd asks first. It has its own
// thread and does not wait for the daemon's loop.
#pragma once

#include "base/error.hpp"
#include "config/model.hpp"
#include "cri/image_store.hpp"
#include "mirror/endpoint.hpp"
#include "watcher/node_images.hpp"

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::mirror {

class Mirror final : public watcher::NodeImages {
 public:
  struct Daemon {
    boost::asio::any_io_executor loop;
    cri::ImageStore& images;
    /// Any thread: how a pull of this image failed a moment ago.
    std::function<std::optional<Failing>(const ImageReference&)> recentFailure;
    // The following are called on the loop.
    std::function<void(const ServedImage&)> tell;
    std::function<void(const std::string&)> trouble;
  };

  Mirror(config::ConfigPtr config, Daemon daemon);
  ~Mirror() override;
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  /// Creates the token if it is missing, listens, starts the thread.
  Result<> open();
  /// Blocks until the thread has ended.
  void close();

  /// Any thread.
  [[nodiscard]] View view() const;

  // On the loop, for the watcher.
  cri::Awaitable<bool> offers(ImageReference image) override;
  [[nodiscard]] bool servedSince(const std::string& name, Stamp begin) const override;

 private:
  struct Parts;
  std::shared_ptr<Parts> parts_;
};

}  // namespace fallbackd::mirror
