// SPDX-License-Identifier: Apache-2.0
// Control over containerd's socket. See grpc_runtime.hpp.
#pragma once

#include "cri/control.hpp"

#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

namespace fallbackd::cri {

std::unique_ptr<Control> makeControl(const std::shared_ptr<grpc::Channel>& channel,
                                     std::string containerdNamespace);

}  // namespace fallbackd::cri
