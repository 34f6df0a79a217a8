// SPDX-License-Identifier: Apache-2.0
// What the workers of all pods share.
#pragma once

#include "kubelet/board.hpp"
#include "kubelet/container_logs.hpp"
#include "kubelet/definition.hpp"
#include "kubelet/event_log.hpp"
#include "kubelet/puller.hpp"
#include "kubelet/records.hpp"
#include "kubelet/relist.hpp"
#include "kubelet/runtime.hpp"

namespace fallbackd::e2e::model {

struct Parts {
  Kubelet& kubelet;
  const Options& options;
  Runtime& runtime;
  EventLog& log;
  Board& board;
  Relist& relist;
  Puller& puller;
  Records& records;
  ContainerLogs& logs;
};

}  // namespace fallbackd::e2e::model
