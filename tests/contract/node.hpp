// SPDX-License-Identifier: Apache-2.0
// A node whose runtime is under test, with the actions of kubelet and registries on it. The contract suite
// drives it; each implementation of cri::Runtime and cri::EventSource has one.
#pragma once

#include "cri/runtime.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include <boost/asio/io_context.hpp>

namespace fallbackd::test {

class ContractNode {
 public:
  virtual ~ContractNode() = default;
  virtual boost::asio::io_context& loop() = 0;
  virtual cri::Runtime& runtime() = 0;
  virtual cri::EventSource& events() = 0;

  struct Pod {
    std::string sandboxId;
    std::string name;
    std::string uid;
  };
  /// In namespace "shop", with the label app=NAME and the annotation example.com/owner=team. Its sandbox is
  /// ready afterwards.
  virtual Pod startPod(const std::string& name) = 0;
  /// Ends the pause process; CRI still knows the sandbox.
  virtual void stopSandbox(const Pod& pod) = 0;
  virtual void removeSandbox(const Pod& pod) = 0;

  enum class Program : std::uint8_t { serves, fails };
  /// As kubelet does: with its labels, its annotation, and the image by its id.
  virtual std::string createContainer(const Pod& pod, const std::string& name, Program program) = 0;
  /// As crictl does: without kubelet's labels and annotations.
  virtual std::string createForeignContainer(const Pod& pod, const std::string& name) = 0;
  virtual void startContainer(const std::string& id) = 0;
  /// Waits for the end of a program that fails; stops one that serves, which then exits with 0.
  virtual void endContainer(const std::string& id) = 0;
  virtual void removeContainer(const std::string& id) = 0;
  static constexpr int kFailure = 2;  // exit code of a program that fails

  /// References: on the node from the beginning; can be pulled; refuses connections; never answers.
  virtual std::string presentImage() = 0;
  virtual std::string pullableImage() = 0;
  virtual std::string refusingImage() = 0;
  virtual std::string silentImage() = 0;
  /// The pause container's image; empty if the runtime does not report it.
  virtual std::string pauseImage() = 0;

  /// Kills the runtime; pods keep running.
  virtual void kill() = 0;
  virtual void restart() = 0;
};

struct Implementation {
  std::string name;
  std::function<std::unique_ptr<ContractNode>()> make;  // null if it is not installed
};
inline void PrintTo(const Implementation& one, std::ostream* out) {
  *out << one.name;
}

}  // namespace fallbackd::test
