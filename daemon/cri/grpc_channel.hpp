// SPDX-License-Identifier: Apache-2.0
// The channel to containerd: how it connects again, and how its calls are counted.
#pragma once

#include "cri/grpc_runtime.hpp"

#include <memory>
#include <string>

#include <grpcpp/channel.h>

namespace fallbackd::cri {

/// Connects by itself when it is used, and again when the connection is lost. Each call adds to `counts`.
std::shared_ptr<grpc::Channel> makeChannel(const std::string& socketPath, std::shared_ptr<CallCounts> counts);

}  // namespace fallbackd::cri
