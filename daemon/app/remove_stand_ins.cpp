// SPDX-License-Identifier: Apache-2.0
#include "app/remove_stand_ins.hpp"

#include "cri/grpc_runtime.hpp"
#include "standin/containerd_stand_ins.hpp"

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <optional>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

namespace fallbackd::app {

namespace {

constexpr std::chrono::seconds kLimit{15};  // the package's removal waits for 20 s

}  // namespace

int removeStandIns(const config::Config& config) {
  boost::asio::io_context loop{1};
  const auto containerd =
      cri::connect(config.containerd.socket, config.containerd.namespaceName, loop.get_executor());
  standin::ContainerdStandIns standIns(*containerd.runtime, *containerd.control, config.launcher.runDir,
                                       sys::LogLinks(config.launcher.logLinks));
  std::optional<Result<std::size_t>> removed;
  boost::asio::co_spawn(loop, standIns.removeEvery(kLimit),
                        [&](const std::exception_ptr& failure, Result<std::size_t> result) {
                          if (failure) std::rethrow_exception(failure);
                          removed = std::move(result);
                        });
  loop.run();
  if (!*removed) {
    std::fprintf(stderr, "fallbackd: %s\n", removed->error().message().c_str());
    return 1;
  }
  std::printf("removed %zu stand-ins\n", **removed);
  return 0;
}

}  // namespace fallbackd::app
